//! `map`: device maps as a person looks for, checks and writes them.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use meter_agent::device::{
    Case, Control, DeviceMap, Library, LibraryError, Read, Span, WriteCase, blueprint,
    built_in_files, golden_cases, golden_write_cases, map_text, plan, read_map_file,
};
use serde_json::{Value, json};

use super::{UNUSABLE, WRONG_READINGS};

/// Things to do with maps.
#[derive(Debug, Subcommand)]
pub enum Map {
    /// All maps: id, how far it is checked, how it is reached, what it is for.
    List {
        /// A folder with further maps.
        #[arg(long, value_name = "DIR")]
        devices_dir: Option<PathBuf>,
    },
    /// Everything about one map: what it reads, with which requests, from which sources.
    Show {
        /// Id of a map, or a file.
        #[arg(value_name = "ID|FILE")]
        map: String,
    },
    /// Look for mistakes in map files.
    Lint {
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Run golden vectors: registers and payloads in, readings out.
    Test {
        /// Id of a map, or a file with golden/NAME.toml beside it; all compiled-in maps without.
        #[arg(value_name = "ID|FILE")]
        map: Option<String>,
        /// The golden vectors of a file, if they are elsewhere.
        #[arg(long, value_name = "FILE")]
        golden: Option<PathBuf>,
    },
    /// Write a commented map to start your own from.
    New {
        /// Id of the map that is closest.
        #[arg(long, value_name = "ID")]
        from: String,
        /// What comes before each id.
        #[arg(long, value_name = "TEXT", default_value = "my-")]
        prefix: String,
        /// Where to write it, instead of on the screen; an existing file is never overwritten.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

impl Map {
    pub fn execute(&self, json: bool) -> Result<ExitCode> {
        match self {
            Self::List { devices_dir } => list(devices_dir.as_deref(), json),
            Self::Show { map } => show(map, json),
            Self::Lint { files } => Ok(lint(files, json)),
            Self::Test { map, golden } => test(map.as_deref(), golden.as_deref(), json),
            Self::New { from, prefix, out } => new(from, prefix, out.as_deref(), json),
        }
    }
}

fn list(folder: Option<&Path>, json: bool) -> Result<ExitCode> {
    let maps = Library::load(folder)?.all()?;
    if json {
        let all: Vec<Value> = maps.values().map(head).collect();
        println!("{}", json!(all));
        return Ok(ExitCode::SUCCESS);
    }
    println!("{:<26} {:<13} {:<9} {:<8} NAME", "ID", "STATUS", "THROUGH", "FOR");
    for map in maps.values() {
        let purpose = map.purpose.map_or("any".to_owned(), |purpose| purpose.to_string());
        println!(
            "{:<26} {:<13} {:<9} {purpose:<8} {}{}",
            map.id,
            map.status,
            map.transport,
            map.name,
            if is_partly_unverified(map) { " *" } else { "" }
        );
    }
    println!("* some of its figures are not checked: meter-agent map show ID names them");
    Ok(ExitCode::SUCCESS)
}

fn is_partly_unverified(map: &DeviceMap) -> bool {
    let unverified = map.unverified();
    !unverified.is_empty() && unverified != ["all of it"]
}

fn head(map: &DeviceMap) -> Value {
    json!({
        "id": map.id,
        "name": map.name,
        "status": map.status,
        "transport": map.transport,
        "purpose": map.purpose,
        "quantities": map.quantities(),
        "unverified": map.unverified(),
        "controls": map.controls,
    })
}

/// Whether this names a file and not a map.
fn is_file(name: &str) -> bool {
    name.contains(['/', '\\']) || name.ends_with(".toml")
}

fn show(name: &str, json: bool) -> Result<ExitCode> {
    let maps = if is_file(name) {
        read_map_file(Path::new(name))?
    } else {
        vec![Library::load(None)?.find(name)?]
    };
    if json {
        let all: Vec<Value> = maps
            .iter()
            .map(|map| {
                let requests: Vec<Value> = requests(map)
                    .into_iter()
                    .map(|(function, models, span)| {
                        json!({ "function": function, "models": models, "address": span.address,
                                "count": span.count })
                    })
                    .collect();
                let mut shown = head(map);
                shown["sources"] = json!(map.sources);
                shown["notes"] = json!(map.notes);
                shown["onboarding"] = json!(map.onboarding);
                shown["registration"] = json!(map.registration);
                shown["requests"] = json!(requests);
                shown
            })
            .collect();
        println!("{}", json!(all));
        return Ok(ExitCode::SUCCESS);
    }
    for map in &maps {
        print!("{}", in_words(map));
    }
    Ok(ExitCode::SUCCESS)
}

/// Function code, SunSpec models and registers of every request.
fn requests(map: &DeviceMap) -> Vec<(u8, Vec<u16>, Span)> {
    let of = |read: Read| {
        let (function, models) = (read.function, read.block.models.clone());
        read.requests().into_iter().map(move |span| (function, models.clone(), span))
    };
    plan(map).into_iter().flat_map(of).collect()
}

fn in_words(map: &DeviceMap) -> String {
    let mut text = format!("{}: {}\n", map.id, map.name);
    let mut say = |line: std::fmt::Arguments<'_>| {
        text.write_fmt(line).and_then(|()| text.write_char('\n')).expect("memory");
    };
    say(format_args!("  status      {}", map.status));
    for what in map.unverified() {
        say(format_args!("  unchecked   {what}"));
    }
    say(format_args!("  through     {}", map.transport));
    if let Some(purpose) = map.purpose {
        say(format_args!("  for         {purpose}"));
    }
    if let Some(rules) = &map.modbus {
        let units: Vec<String> = rules.units.iter().map(u8::to_string).collect();
        say(format_args!("  as delivered port {}, unit {}", rules.port, units.join(" or ")));
        if let Some(serial) = &rules.serial {
            say(format_args!(
                "  serial      {} baud, parity {}, {} stop",
                serial.baud, serial.parity, serial.stop_bits
            ));
        }
    }
    for (title, lines) in [
        ("source", &map.sources),
        ("first", &map.onboarding.requirements),
        ("careful", &map.onboarding.caveats),
        ("if silent", &map.onboarding.remedy),
        ("note", &map.notes),
    ] {
        for line in lines {
            say(format_args!("  {title:<11} {line}"));
        }
    }
    for (function, models, span) in requests(map) {
        let of = if models.is_empty() { String::new() } else { format!(" of model {models:?}") };
        let last = u32::from(span.address) + u32::from(span.count) - 1;
        say(format_args!("  request     function {function}, {} to {last}{of}", span.address));
    }
    for message in &map.messages {
        say(format_args!("  topic       {}", message.topic));
    }
    for control in &map.controls {
        for line in in_words_of(control) {
            say(format_args!("  can steer   {line}"));
        }
    }
    for field in &map.obis {
        say(format_args!("  object      {} ({})", field.code, field.key));
    }
    let quantities: Vec<&str> = map.quantities().iter().map(|own| own.as_str()).collect();
    say(format_args!("  tells       {}", quantities.join(", ")));
    text
}

/// What a way to steer does, as sentences.
fn in_words_of(control: &Control) -> Vec<String> {
    let of = match &control.models[..] {
        [] => String::new(),
        models => format!(" by model {models:?}"),
    };
    let back = match control.watchdog {
        Some(own) if own.from_s == own.to_s => {
            format!("comes back to its own ways after {} s by itself", own.to_s)
        }
        Some(own) => format!(
            "comes back to its own ways after {} to {} s by itself, as set",
            own.from_s, own.to_s
        ),
        None => "has no watchdog: what is set stays when the agent dies".to_owned(),
    };
    let mut lines = vec![format!("{}{of}; {back}", control.kind.in_words())];
    lines.extend(control.requirements.iter().map(|first| format!("first: {first}")));
    lines.extend(control.unverified.iter().map(|what| format!("not checked: {what}")));
    lines
}

fn lint(files: &[PathBuf], json: bool) -> ExitCode {
    let mut all_well = true;
    let mut told = Vec::new();
    for file in files {
        let problems = match read_map_file(file) {
            Ok(maps) => {
                let ids: Vec<String> = maps.into_iter().map(|map| map.id).collect();
                if !json {
                    println!("{}: no mistakes found in {}", file.display(), ids.join(", "));
                }
                Vec::new()
            }
            Err(LibraryError::Unsound { problems, .. }) => problems,
            Err(error) => vec![error.to_string()],
        };
        all_well &= problems.is_empty();
        if !json {
            problems.iter().for_each(|problem| println!("{}: {problem}", file.display()));
        }
        told.push(json!({ "file": file, "problems": problems }));
    }
    if json {
        println!("{}", json!(told));
    }
    if all_well { ExitCode::SUCCESS } else { ExitCode::from(UNUSABLE) }
}

/// Maps and the vectors for them.
struct Tested {
    maps: Vec<DeviceMap>,
    cases: Vec<Case>,
    writes: Vec<WriteCase>,
}

fn tested(name: Option<&str>, golden: Option<&Path>) -> Result<Vec<Tested>> {
    let Some(name) = name else {
        let all = built_in_files().iter();
        return all.map(|file| vectors(file.maps()?, file.golden, file.name)).collect();
    };
    if !is_file(name) {
        let map = Library::load(None)?.find(name)?;
        let has = |maps: Vec<DeviceMap>| maps.iter().any(|own| own.id == map.id);
        let file = built_in_files().iter().find(|file| file.maps().is_ok_and(has));
        let file = file.expect("found in the library without a folder");
        let mut tested = vectors(vec![map], file.golden, file.name)?;
        tested.cases.retain(|case| case.maps.iter().any(|id| id == name));
        tested.writes.retain(|case| case.maps.iter().any(|id| id == name));
        return Ok(vec![tested]);
    }
    let file = Path::new(name);
    let beside = || {
        let folder = file.parent().unwrap_or(Path::new("."));
        Some(folder.join("golden").join(file.file_name()?))
    };
    let golden = golden.map(Path::to_owned).or_else(beside).context("that is no file name")?;
    let text = map_text(&golden).with_context(|| {
        format!(
            "a map is tested with golden vectors: write them to {} or name them with --golden \
             (meter-agent map new shows a map, docs/device-maps.md a vector)",
            golden.display()
        )
    })?;
    Ok(vec![vectors(read_map_file(file)?, &text, &golden.display().to_string())?])
}

fn vectors(maps: Vec<DeviceMap>, text: &str, name: &str) -> Result<Tested> {
    match golden_cases(text).and_then(|cases| Ok((cases, golden_write_cases(text)?))) {
        Ok((cases, writes)) => Ok(Tested { maps, cases, writes }),
        Err(reason) => bail!("golden vectors of {name}: {reason}"),
    }
}

fn test(name: Option<&str>, golden: Option<&Path>, json: bool) -> Result<ExitCode> {
    let mut told = Vec::new();
    let (mut run, mut failed) = (0, 0);
    for Tested { maps, cases, writes } in tested(name, golden)? {
        for map in &maps {
            let own: Vec<&Case> = cases.iter().filter(|case| case.maps.contains(&map.id)).collect();
            if own.is_empty() {
                failed += 1;
                told.push(json!({ "map": map.id, "problems": ["there is no golden vector"] }));
            }
            for case in own {
                let problems = case.problems(map);
                run += 1;
                failed += usize::from(!problems.is_empty());
                told.push(json!({ "map": map.id, "says": case.says, "problems": problems }));
            }
            for case in writes.iter().filter(|case| case.maps.contains(&map.id)) {
                let problems = case.problems(map);
                run += 1;
                failed += usize::from(!problems.is_empty());
                told.push(json!({ "map": map.id, "says": case.says, "problems": problems }));
            }
        }
    }
    if json {
        println!("{}", json!(told));
    } else {
        for vector in &told {
            let (map, says) = (&vector["map"], &vector["says"]);
            for problem in vector["problems"].as_array().into_iter().flatten() {
                let (map, says) = (map.as_str().unwrap_or("?"), says.as_str().unwrap_or("-"));
                println!("{map}, {says}: {}", problem.as_str().unwrap_or("?"));
            }
        }
        println!("{run} golden vectors, {failed} wrong");
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(WRONG_READINGS) })
}

fn new(from: &str, prefix: &str, out: Option<&Path>, json: bool) -> Result<ExitCode> {
    // An unknown id is told with the known ones.
    Library::load(None)?.find(from)?;
    let text = blueprint(from, prefix).expect("a known id is in one of the files");
    let Some(out) = out else {
        if json {
            println!("{}", json!({ "text": text }));
        } else {
            print!("{text}");
        }
        return Ok(ExitCode::SUCCESS);
    };
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(out)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("cannot write {}: nothing was overwritten", out.display()))?;
    if json {
        println!("{}", json!({ "file": out }));
    } else {
        println!("{}: now change it, then meter-agent map lint {}", out.display(), out.display());
    }
    Ok(ExitCode::SUCCESS)
}
