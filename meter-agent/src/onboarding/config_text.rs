//! Changes to `agent.toml` as a person would make them: a device more at the end, a line more or
//! another one in a device. Comments, order and spelling of everything else stay as they are.
//!
//! The text is changed by its lines, and believed only after it has been parsed again and means exactly
//! what was wanted and nothing else; a file whose form is too unusual for that is refused.

use crate::config::{Config, ConfigError, DeviceConfig};

/// Why a file was left as it is.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// It means something else after the change than it should.
    #[error(
        "the file is written in a way that cannot be changed safely; put this into it by hand:\n{by_hand}"
    )]
    Unusual {
        /// What to put in.
        by_hand: String,
    },
    /// It would not be a right configuration any more.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// The order in which a person writes the keys of a device.
const KEYS: [&str; 9] =
    ["name", "role", "map", "host", "transport", "serial", "unit", "mqtt", "positive_means"];

/// How a line begins that says why a device is there.
const REMARK: &str = "# found: ";

/// A `[[device]]` as text.
#[must_use]
pub fn device_text(device: &DeviceConfig) -> String {
    let table = toml::Value::try_from(device).expect("a device is plain data");
    let toml::Value::Table(mut table) = table else { unreachable!("a structure is a table") };
    table.retain(|_, value| *value != toml::Value::Boolean(false));
    let mut text = "[[device]]\n".to_owned();
    let mut put = |key: &str, value: &toml::Value| text.push_str(&format!("{key} = {value}\n"));
    for key in KEYS {
        if let Some(value) = table.remove(key) {
            put(key, &value);
        }
    }
    table.iter().for_each(|(key, value)| put(key, value));
    text
}

/// The text with a device more, at its end.
///
/// # Errors
/// [`EditError`].
pub fn with_device(text: &str, device: &DeviceConfig, remark: &str) -> Result<String, EditError> {
    let before = Config::parse(text, "the configuration")?;
    let own = device_text(device);
    let gap = if text.is_empty() || text.ends_with("\n\n") {
        ""
    } else if text.ends_with('\n') {
        "\n"
    } else {
        "\n\n"
    };
    let remark: String = remark.lines().map(|line| format!("{REMARK}{line}\n")).collect();
    let changed = format!("{text}{gap}{remark}{own}");
    let mut wanted = before;
    wanted.devices.push(device.clone());
    proven(changed, &wanted, own)
}

/// The text without the device of this place in the list.
///
/// # Errors
/// [`EditError`].
pub fn without_device(text: &str, index: usize) -> Result<String, EditError> {
    let mut wanted = Config::parse(text, "the configuration")?;
    let name = wanted.devices.get(index).map(|device| device.name.clone()).unwrap_or_default();
    let by_hand = format!("(take the [[device]] named {name:?} out)\n");
    let lines: Vec<&str> = text.lines().collect();
    let Some((mut from, to)) = span(&lines, index) else {
        return Err(EditError::Unusual { by_hand });
    };
    while from > 0 && lines[from - 1].starts_with(REMARK) {
        from -= 1;
    }
    let kept = lines[..from].iter().chain(&lines[to..]);
    let changed: String = kept.map(|line| format!("{line}\n")).collect();
    wanted.devices.remove(index);
    proven(changed, &wanted, by_hand)
}

/// The text with `key = value` in a device, whose configuration then is `device`.
///
/// # Errors
/// [`EditError`].
pub fn with_key(
    text: &str,
    index: usize,
    (key, value): (&str, &str),
    device: &DeviceConfig,
) -> Result<String, EditError> {
    let mut wanted = Config::parse(text, "the configuration")?;
    let line = format!("{key} = {value}");
    let by_hand = format!("(in the [[device]] named {:?})\n{line}\n", device.name);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let borrowed: Vec<&str> = lines.iter().map(String::as_str).collect();
    let Some((from, to)) = span(&borrowed, index).filter(|_| index < wanted.devices.len()) else {
        return Err(EditError::Unusual { by_hand });
    };
    let is_key = |line: &str| line.split('=').next().is_some_and(|start| start.trim() == key);
    // A commented remark behind the old value is part of the old value.
    match (from + 1..to).find(|&at| is_key(&lines[at])) {
        Some(at) => lines[at] = line,
        None => {
            let last = (from..to).rev().find(|&at| {
                let line = lines[at].trim();
                !line.is_empty() && !line.starts_with('#')
            });
            lines.insert(last.unwrap_or(from) + 1, line);
        }
    }
    let changed: String = lines.iter().map(|line| format!("{line}\n")).collect();
    wanted.devices[index] = device.clone();
    proven(changed, &wanted, by_hand)
}

/// The lines of a `[[device]]`: from its head to the next head, without the comments before that.
fn span(lines: &[&str], index: usize) -> Option<(usize, usize)> {
    let is_head = |line: &str| line.trim_start().starts_with('[');
    let is_device = |line: &str| {
        let line = line.split('#').next().unwrap_or_default();
        line.split_whitespace().collect::<String>() == "[[device]]"
    };
    let heads = lines.iter().enumerate().filter(|(_, line)| is_device(line));
    let (from, _) = heads.clone().nth(index)?;
    let belongs = |line: &str| is_head(line) && !line.trim_start().starts_with("[device.");
    let next = lines[from + 1..].iter().position(|line| belongs(line));
    let mut to = next.map_or(lines.len(), |next| from + 1 + next);
    while to > from + 1 && next.is_some() && lines[to - 1].trim_start().starts_with('#') {
        to -= 1;
    }
    Some((from, to))
}

/// The text, when it means what was wanted.
fn proven(changed: String, wanted: &Config, by_hand: String) -> Result<String, EditError> {
    match Config::parse(&changed, "the changed configuration") {
        Ok(config) if config == *wanted => Ok(changed),
        _ => Err(EditError::Unusual { by_hand }),
    }
}

/// What differs between two texts, line by line: those that went with `-`, those that came with `+`.
#[must_use]
pub fn changes(before: &str, after: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let head = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let (old, new) = (&old[head..], &new[head..]);
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
    let gone = old[..old.len() - tail].iter().map(|line| format!("- {line}"));
    let come = new[..new.len() - tail].iter().map(|line| format!("+ {line}"));
    gone.chain(come).map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Role;
    use crate::device::Direction;

    const HEAD: &str = "# my own words\ncommunity = \"s\"\npoint = \"P\"\n\
        operator = \"0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a\"\ndata_dir = \"data\"\n\
        [mqtt]\nurl = \"mqtt://127.0.0.1:1883\"   # mine\n";

    fn device(name: &str) -> DeviceConfig {
        let mut device = DeviceConfig::new(name, Role::Meter, "eastron-sdm630");
        device.host = Some("192.0.2.7:502".to_owned());
        device.unit = Some(1);
        device
    }

    #[test]
    fn a_device_comes_behind_everything_and_goes_again() {
        for text in [HEAD, HEAD.trim_end(), &format!("{HEAD}# the end\n\n")] {
            let one = with_device(text, &device("grid"), "today").expect("plain");
            assert!(
                one.starts_with(text.trim_end()) && one.contains("# found: today\n[[device]]\n")
            );
            let two = with_device(&one, &device("other"), "").expect("plain");
            let config = Config::parse(&two, "x").expect("right");
            assert_eq!(config.devices, [device("grid"), device("other")]);
            assert_eq!(without_device(&two, 1).expect("there").trim_end(), one.trim_end());
            let last = without_device(&two, 0).expect("there");
            assert!(last.contains("other") && !last.contains("grid"));
        }
    }

    #[test]
    fn a_key_is_put_in_or_exchanged_where_it_belongs() {
        let text = with_device(HEAD, &device("grid"), "").expect("plain");
        let text = with_device(&text, &device("other"), "about the other").expect("plain");
        let mut turned = device("grid");
        turned.positive_means = Some(Direction::Export);
        let key = ("positive_means", "\"export\"");
        let changed = with_key(&text, 0, key, &turned).expect("plain");
        assert_eq!(changes(&text, &changed), ["+ positive_means = \"export\""]);
        turned.positive_means = Some(Direction::Import);
        let back = with_key(&changed, 0, ("positive_means", "\"import\""), &turned).expect("plain");
        assert_eq!(
            changes(&changed, &back),
            ["- positive_means = \"export\"", "+ positive_means = \"import\""]
        );
        assert!(with_key(&text, 7, key, &turned).is_err());
    }

    #[test]
    fn what_cannot_be_changed_safely_is_told_to_be_done_by_hand() {
        let inline = HEAD.replace(
            "data_dir",
            "device = [{ name = \"grid\", role = \"meter\", map = \"x\" }]\ndata_dir",
        );
        let error = with_device(&inline, &device("roof"), "").expect_err("not appendable");
        assert!(error.to_string().contains("by hand") && error.to_string().contains("\"roof\""));
        let key = ("positive_means", "\"export\"");
        assert!(with_key(&inline, 0, key, &device("grid")).is_err());
        assert!(matches!(with_device("x = [", &device("a"), ""), Err(EditError::Config(_))));
    }

    proptest::proptest! {
        /// Whatever stands in the comments: nothing but the wanted line changes.
        #[test]
        fn comments_stay(remarks in proptest::collection::vec("[ -~]{0,40}", 1..6)) {
            let mut text = HEAD.to_owned();
            for (at, remark) in remarks.iter().enumerate() {
                text.push_str(&format!("# {remark}\n"));
                text = with_device(&text, &device(&format!("d{at}")), remark).expect("plain");
                text.push_str(&format!("  # {remark}\n"));
            }
            let index = remarks.len() - 1;
            let mut turned = device(&format!("d{index}"));
            turned.positive_means = Some(Direction::Export);
            let key = ("positive_means", "\"export\"");
            let changed = with_key(&text, index, key, &turned).expect("plain");
            proptest::prop_assert_eq!(changes(&text, &changed), ["+ positive_means = \"export\""]);
        }
    }
}
