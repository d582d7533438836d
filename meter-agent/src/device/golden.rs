//! Golden vectors: what a device sent, and what must come out.
//!
//! A map without one is a guess. Each file in `devices/golden` belongs to the map file of the same
//! name and has at least one case for every map in it; `map test` runs them, and a test serves the
//! same registers and payloads over real sockets to the agent's own reader.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::golden_write::WriteCase;
use super::map::{DeviceMap, Transport};
use super::quantity::Direction;
use super::sunspec::{Chain, Step, Walk};
use super::telegram::Telegrams;
use super::{
    BlockAnswer, Figure, Figures, Inbox, Observed, Quantity, Read, Readout, WordOrder,
    decode_block, plan, readout,
};

/// Where a case's SunSpec models begin.
const SUNSPEC_BASE: u16 = 40_000;
/// What stands for `{topic}` in a case's topics.
const TOPIC: &str = "device";
/// Market time of every case, Unix milliseconds.
const NOW_MS: i64 = 1_774_000_000_000;

/// A file of cases.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    #[serde(rename = "case")]
    cases: Vec<Case>,
    /// What is written to the device for a setpoint.
    #[serde(default, rename = "write")]
    writes: Vec<WriteCase>,
}

/// One vector.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The maps it is for.
    pub maps: Vec<String>,
    /// What is going on, for people.
    pub says: String,
    /// What the owner has set, if anything.
    #[serde(default)]
    pub positive_means: Option<Direction>,
    /// What the owner has set, if anything.
    #[serde(default)]
    pub order: Option<WordOrder>,
    /// Registers, for Modbus maps.
    #[serde(default)]
    registers: Vec<Registers>,
    /// Models, for SunSpec maps.
    #[serde(default, rename = "model")]
    models: Vec<ModelContent>,
    /// Messages in their order, for MQTT maps.
    #[serde(default, rename = "message")]
    pub messages: Vec<Sent>,
    /// A telegram as text (P1; line ends are sent as CR LF).
    #[serde(default)]
    pub text: Option<String>,
    /// A telegram in hexadecimal (SML); blanks do not count.
    #[serde(default)]
    pub hex: Option<String>,
    /// What must come out: whole numbers in canonical units, or the words for why not. Every
    /// quantity that has a value must be listed.
    reads: BTreeMap<String, Expected>,
}

/// What a quantity must be.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Expected {
    /// In its canonical unit.
    Value(i64),
    /// What it says instead of a value, or how that begins.
    Words(String),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Registers {
    function: u8,
    /// Lines such as `52: c4da c800`. What is asked for beside them is zero.
    set: Vec<String>,
    /// Registers, first to last, that the device answers with an exception.
    #[serde(default)]
    refuses: Vec<[u16; 2]>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelContent {
    /// Model number; the one of the map's id when it is not said.
    pub id: Option<u16>,
    length: u16,
    /// Lines such as `14: 0d80`, by offset from the model's first register. What is not set is
    /// 8000, "not available" for most types.
    set: Vec<String>,
}

impl ModelContent {
    /// All registers of the model, ID and L included.
    pub fn content(&self, id: u16) -> Result<Vec<u16>, String> {
        let mut content = vec![0x8000; usize::from(self.length) + 2];
        (content[0], content[1]) = (id, self.length);
        for line in &self.set {
            let (offset, words) = words(line)?;
            let from = usize::from(offset);
            let place = content
                .get_mut(from..from + words.len())
                .ok_or_else(|| format!("{line:?} lies outside model {id}"))?;
            place.copy_from_slice(&words);
        }
        Ok(content)
    }
}

/// A message of a case.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    /// Topic; `{topic}` stands for the device's.
    pub topic: String,
    /// Payload.
    pub payload: String,
    /// Whether the broker had kept it.
    #[serde(default)]
    pub retained: bool,
}

/// The cases of a file.
///
/// # Errors
/// What the parser says.
pub fn cases(text: &str) -> Result<Vec<Case>, String> {
    toml::from_str(text).map(|cases: Cases| cases.cases).map_err(|error| error.to_string())
}

/// The setpoints of a file and what they must become.
///
/// # Errors
/// What the parser says.
pub fn write_cases(text: &str) -> Result<Vec<WriteCase>, String> {
    toml::from_str(text).map(|cases: Cases| cases.writes).map_err(|error| error.to_string())
}

/// Registers of a whole device, by function code and address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image(BTreeMap<(u8, u16), u16>);

impl Image {
    /// Every register.
    pub fn iter(&self) -> impl Iterator<Item = (u8, u16, u16)> {
        self.0.iter().map(|(&(function, address), &word)| (function, address, word))
    }

    /// Registers in a row; none when one of them is not there.
    #[must_use]
    pub fn read(&self, function: u8, address: u16, count: u16) -> Option<Vec<u16>> {
        let end = u32::from(address) + u32::from(count);
        (u32::from(address)..end)
            .map(|at| self.0.get(&(function, u16::try_from(at).ok()?)).copied())
            .collect()
    }
}

impl Case {
    /// The map as the case's owner has set it.
    #[must_use]
    pub fn set_up(&self, map: DeviceMap) -> DeviceMap {
        let map = match self.positive_means {
            Some(direction) => map.with_positive_means(direction),
            None => map,
        };
        match self.order {
            Some(order) => map.with_order(order),
            None => map,
        }
    }

    /// The registers that the device of this case has.
    ///
    /// # Errors
    /// A sentence about a line that is no registers.
    pub fn image(&self, map: &DeviceMap) -> Result<Image, String> {
        let mut image = Image::default();
        if map.transport == Transport::Sunspec {
            self.sunspec(map, &mut image)?;
            return Ok(image);
        }
        for registers in &self.registers {
            for line in &registers.set {
                let (address, words) = words(line)?;
                for (at, word) in (address..).zip(words) {
                    image.0.insert((registers.function, at), word);
                }
            }
        }
        for read in plan(map) {
            for span in read.requests() {
                let end = u32::from(span.address) + u32::from(span.count);
                for at in (u32::from(span.address)..end).filter_map(|at| u16::try_from(at).ok()) {
                    image.0.entry((read.function, at)).or_insert(0);
                }
            }
        }
        for registers in &self.registers {
            for &[from, to] in &registers.refuses {
                image.0.retain(|&(function, at), _| {
                    function != registers.function || !(from..=to).contains(&at)
                });
            }
        }
        Ok(image)
    }

    fn sunspec(&self, map: &DeviceMap, image: &mut Image) -> Result<(), String> {
        let mut chain = vec![0x5375, 0x6e53, 1, 66];
        chain.extend([0_u16; 66]);
        for model in &self.models {
            let own = map.blocks.first().and_then(|block| block.models.first().copied());
            let id = model.id.or(own).ok_or("a model without id")?;
            chain.extend(model.content(id)?);
        }
        chain.extend([0xffff, 0]);
        for (at, word) in (SUNSPEC_BASE..).zip(chain) {
            image.0.insert((3, at), word);
        }
        Ok(())
    }

    /// The bytes of the telegram, when it has one.
    ///
    /// # Errors
    /// A sentence about what is no hexadecimal.
    pub fn telegram(&self) -> Result<Option<Vec<u8>>, String> {
        if let Some(text) = &self.text {
            return Ok(Some(text.trim_start().replace('\n', "\r\n").into_bytes()));
        }
        let Some(digits) = &self.hex else { return Ok(None) };
        let digits: String = digits.split_whitespace().collect();
        hex::decode(digits).map(Some).map_err(|error| error.to_string())
    }

    /// Everything that does not come out as it must, as sentences; empty when all is well.
    #[must_use]
    pub fn problems(&self, map: &DeviceMap) -> Vec<String> {
        let map = self.set_up(map.clone());
        match self.readout(&map) {
            Ok(readout) => {
                let told = |(quantity, figure): (Quantity, &Figure)| {
                    let words = match &figure.value {
                        Observed::Value(value) => Ok(*value),
                        other => Err(other.to_string()),
                    };
                    (quantity, words)
                };
                self.differences(&readout.iter().map(told).collect())
            }
            Err(problem) => vec![problem],
        }
    }

    fn readout(&self, map: &DeviceMap) -> Result<Readout, String> {
        match map.transport {
            Transport::Modbus | Transport::Sunspec => from_image(map, &self.image(map)?),
            Transport::Mqtt => {
                let mut inbox = Inbox::new(map.clone(), TOPIC);
                let mut all = Readout::default();
                for Sent { topic, payload, retained } in &self.messages {
                    let topic = topic.replace("{topic}", TOPIC);
                    let told = inbox.take(&topic, payload.as_bytes(), *retained, NOW_MS);
                    if let Some(told) = told.map_err(|fault| fault.to_string())? {
                        all.merge(told);
                    }
                }
                Ok(all)
            }
            Transport::P1 | Transport::Sml => {
                let bytes = self.telegram()?.ok_or("the case has no telegram")?;
                let mut telegrams = Telegrams::new(map.clone());
                let told = telegrams.push(&bytes, NOW_MS).into_iter().next_back();
                told.ok_or("no whole telegram")?.map_err(|fault| fault.to_string())
            }
        }
    }

    /// What differs between this case and what was told, as sentences: a value in its canonical
    /// unit, or the words for why there is none.
    #[must_use]
    pub fn differences(&self, told: &BTreeMap<Quantity, Result<i64, String>>) -> Vec<String> {
        let mut problems = Vec::new();
        let nothing = Err("nothing".to_owned());
        for (name, expected) in &self.reads {
            let Some(quantity) = Quantity::named(name) else {
                problems.push(format!("{name} is no quantity"));
                continue;
            };
            let found = told.get(&quantity).unwrap_or(&nothing);
            let (fits, expected) = match (expected, found) {
                (Expected::Value(value), found) => (found == &Ok(*value), value.to_string()),
                (Expected::Words(words), Err(found)) => (found.starts_with(words), words.clone()),
                (Expected::Words(words), Ok(_)) => (false, words.clone()),
            };
            if !fits {
                let found = match found {
                    Ok(value) => value.to_string(),
                    Err(words) => words.clone(),
                };
                problems.push(format!("{name} should be {expected} but is {found}"));
            }
        }
        for (quantity, found) in told {
            if let (Ok(value), None) = (found, self.reads.get(quantity.as_str())) {
                problems.push(format!("{quantity} is {value}, which the case does not mention"));
            }
        }
        problems
    }
}

/// What a map reads in an image.
fn from_image(map: &DeviceMap, image: &Image) -> Result<Readout, String> {
    let sunspec = map.transport == Transport::Sunspec;
    let chain = if sunspec { Some(discover(image)?) } else { None };
    let mut figures = Figures::new();
    for read in plan(map) {
        let answer = answer(&read, chain.as_ref(), image);
        decode_block(&read.block, &answer, sunspec, NOW_MS, &mut figures);
    }
    Ok(readout(map, &figures))
}

fn answer(read: &Read, chain: Option<&Chain>, image: &Image) -> BlockAnswer {
    let (read, base) = match chain {
        None => (Some(read.clone()), 0),
        Some(chain) => match chain.find(&read.block.models) {
            Some(model) => (read.within(model.length), model.address),
            None => (None, 0),
        },
    };
    let Some(read) = read else { return BlockAnswer::Unsupported };
    let words: Option<Vec<Vec<u16>>> = read
        .requests()
        .into_iter()
        .map(|span| image.read(read.function, base + span.address, span.count))
        .collect();
    words.map_or(BlockAnswer::Unsupported, |words| read.answer(words))
}

fn discover(image: &Image) -> Result<Chain, String> {
    let mut walk = Walk::new();
    let mut step = walk.first();
    loop {
        match step {
            Step::Done(chain) => return Ok(chain),
            Step::Read(address) => {
                let words = image.read(3, address, 2).map(|words| [words[0], words[1]]);
                step = walk.answer(words).map_err(|fault| fault.to_string())?;
            }
        }
    }
}

/// `address: word word …`, the address in decimal or with 0x, the words in hexadecimal.
fn words(line: &str) -> Result<(u16, Vec<u16>), String> {
    let parse = || {
        let (address, words) = line.split_once(':')?;
        let address = match address.trim().strip_prefix("0x") {
            Some(digits) => u16::from_str_radix(digits, 16).ok()?,
            None => address.trim().parse().ok()?,
        };
        let words = words.split_whitespace().map(|word| u16::from_str_radix(word, 16).ok());
        Some((address, words.collect::<Option<Vec<u16>>>()?))
    };
    parse().ok_or_else(|| format!("{line:?} is not of the form `52: c4da c800`"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{BuiltIn, built_in_files};
    use super::*;

    #[test]
    fn every_map_says_what_its_golden_vectors_say() {
        let mut problems = Vec::new();
        for &BuiltIn { name, golden, .. } in built_in_files() {
            let file = built_in_files().iter().find(|file| file.name == name).expect("itself");
            let maps = match file.maps() {
                Ok(maps) => maps,
                Err(error) => {
                    problems.push(error.to_string());
                    continue;
                }
            };
            let cases = cases(golden).unwrap_or_else(|error| panic!("golden/{name}.toml: {error}"));
            let mut untold: BTreeSet<&str> = maps.iter().map(|map| map.id.as_str()).collect();
            for case in &cases {
                for id in &case.maps {
                    untold.remove(id.as_str());
                    let Some(map) = maps.iter().find(|map| map.id == *id) else {
                        problems.push(format!("golden/{name}.toml: no map {id}"));
                        continue;
                    };
                    let own = case.problems(map);
                    problems
                        .extend(own.into_iter().map(|own| format!("{id}, {}: {own}", case.says)));
                }
            }
            problems.extend(untold.iter().map(|id| format!("{id} has no golden vector")));
            problems.extend(write_problems(name, golden, &maps));
        }
        assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    }

    /// Every way to steer must be told: a setpoint, and the way back.
    fn write_problems(name: &str, golden: &str, maps: &[DeviceMap]) -> Vec<String> {
        let mut problems = Vec::new();
        let writes = write_cases(golden).unwrap_or_else(|error| panic!("{name}: {error}"));
        for map in maps {
            let own: Vec<_> = writes.iter().filter(|case| case.maps.contains(&map.id)).collect();
            problems.extend(own.iter().flat_map(|case| {
                case.problems(map)
                    .into_iter()
                    .map(|what| format!("{}, {}: {what}", map.id, case.says))
            }));
            for control in &map.controls {
                let of = |released: bool| {
                    own.iter()
                        .any(|case| case.is_for(control) && case.setpoint.is_none() == released)
                };
                if !of(false) || !of(true) {
                    problems.push(format!(
                        "{}: {} {:?} needs a setpoint and a release among the vectors",
                        map.id,
                        control.kind.in_words(),
                        control.models
                    ));
                }
            }
        }
        problems
    }

    #[test]
    fn every_file_in_the_folder_is_compiled_in() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/devices");
        let on_disk: BTreeSet<String> = std::fs::read_dir(folder)
            .expect("the folder")
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| name.strip_suffix(".toml").map(str::to_owned))
            .collect();
        let inside: BTreeSet<String> =
            built_in_files().iter().map(|file| file.name.to_owned()).collect();
        assert_eq!(on_disk, inside);
        let mut ids = BTreeSet::new();
        for file in built_in_files() {
            for map in file.maps().unwrap_or_else(|error| panic!("{error}")) {
                assert!(ids.insert(map.id.clone()), "{} is there twice", map.id);
            }
        }
    }

    #[test]
    fn a_vector_that_is_wrong_is_told() {
        let text = "[[case]]\nmaps = [\"x\"]\nsays = \"x\"\n[[case.registers]]\nfunction = 4\n\
                    set = [\"820: fb50 012c\"]\n[case.reads]\npower = 1\n";
        let [case] = &cases(text).expect("a case")[..] else { panic!("one case") };
        let map = built_in_files()
            .iter()
            .filter_map(|file| file.maps().ok())
            .flatten()
            .find(|map| map.id == "victron-gx-meter")
            .expect("built in");
        // Registers of the other function are not these.
        let told = case.problems(&map);
        assert_eq!(told[0], "power should be 1 but is 0");
        assert_eq!(told[1], "power_l1 is 0, which the case does not mention");
        assert!(cases("[[case]]").is_err());
        assert!(words("52 c4da").is_err() && words("0x: 1").is_err() && words("1: 12345").is_err());
        assert_eq!(words("0x10: c4da 1"), Ok((16, vec![0xc4da, 1])));
    }
}
