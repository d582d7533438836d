//! What is there? Asking the network by name (mDNS), listening at a broker, looking at addresses that a
//! person named, and listing serial ports. Nothing is swept: no address is asked that nobody named or
//! that did not announce itself.

mod mdns;
mod mqtt;

use std::path::Path;

use serde::Serialize;

pub use mdns::{Announced, announced};
pub use mqtt::{Heard, ListenError, Published, hint_of, listen};

/// Serial ports that are listed, at most.
const MOST_PORTS: usize = 32;

/// A serial port of this computer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Port {
    /// The name that stays the same when cables are moved, if there is one.
    pub path: String,
}

/// Serial adapters that are plugged in. None of them is opened.
#[must_use]
pub fn serial_ports(dev: &Path) -> Vec<Port> {
    let names = |folder: &Path, wanted: fn(&str) -> bool| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        let mut names: Vec<String> = paths
            .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(wanted))
            .map(|path| path.display().to_string())
            .take(MOST_PORTS)
            .collect();
        names.sort();
        names
    };
    let by_id = names(&dev.join("serial/by-id"), |_| true);
    let plain =
        |name: &str| ["ttyUSB", "ttyACM", "ttyAMA"].iter().any(|start| name.starts_with(start));
    let ports = if by_id.is_empty() { names(dev, plain) } else { by_id };
    ports.into_iter().map(|path| Port { path }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_are_listed_by_the_name_that_stays() {
        let dev = tempfile::tempdir().expect("a folder");
        for name in ["ttyUSB0", "ttyACM1", "tty1", "null"] {
            std::fs::write(dev.path().join(name), "").expect("written");
        }
        let names = || -> Vec<String> {
            let ports = serial_ports(dev.path()).into_iter();
            ports.map(|port| port.path.rsplit('/').next().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(names(), ["ttyACM1", "ttyUSB0"]);
        std::fs::create_dir_all(dev.path().join("serial/by-id")).expect("made");
        std::fs::write(dev.path().join("serial/by-id/usb-FTDI_A-if00"), "").expect("written");
        assert_eq!(names(), ["usb-FTDI_A-if00"]);
        assert_eq!(serial_ports(Path::new("/no/such/folder")), []);
    }
}
