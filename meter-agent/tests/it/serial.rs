//! RTU on a serial port: a pair of pseudo-terminals stands for the wire, the rest is real.

use std::time::Duration;

use meter_agent::Chance;
use meter_agent::modbus::{Ask, Function, Line, Place, Rank, Read, ReadError};
use meter_agent::serial::{Parity, SerialConfig};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{ControlModes, tcgetattr};
use tokio::net::unix::pipe::{Receiver, Sender};

use crate::support::gateway::{Gateway, Trouble, Weather, truth};

/// A wire: the far end with a device on it, and the name of the near end.
fn wire(weather: Weather) -> (Gateway, std::os::fd::OwnedFd, String) {
    let far = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
    grantpt(&far).expect("ours");
    unlockpt(&far).expect("ours");
    let name = ptsname(&far, Vec::new()).expect("named").into_string().expect("plain");
    // The far end reports a hang-up while nobody has the near end open.
    let near = rustix::fs::open(name.as_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty());
    let near = near.expect("there");
    rustix::io::ioctl_fionbio(&far, true).expect("set");
    let reader = Receiver::from_owned_fd_unchecked(far.try_clone().expect("twice"));
    let writer = Sender::from_owned_fd_unchecked(far);
    let device = tokio::io::join(reader.expect("polled"), writer.expect("polled"));
    (Gateway::on_wire(device, weather), near, name)
}

fn config(path: String) -> SerialConfig {
    SerialConfig { path, baud: 19_200, parity: Parity::Even, data_bits: 8, stop_bits: 1 }
}

fn ask(address: u16) -> Ask {
    let read = Read::new(7, Function::Input, address, 10).expect("possible");
    Ask { rank: Rank::Edge, ..Ask::new(read, Duration::from_millis(20)) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_meter_on_a_serial_line_is_read_and_never_taken_for_another_register() {
    let weather = vec![
        (15, Trouble::Late(30)),
        (10, Trouble::Noise),
        (10, Trouble::Flip),
        (10, Trouble::Half),
        (10, Trouble::Twice),
        (10, Trouble::Silence),
    ];
    let (_device, near, name) = wire(weather);
    let line = Line::open(Place::Serial(config(name)), Chance::seeded(2));
    let (mut answered, mut asked) = (0, 0);
    while asked < 500 {
        let ask = ask(asked % 97 * 10);
        match line.read(ask).await {
            Ok(words) => {
                let right: Vec<u16> =
                    (ask.read.address()..).take(10).map(|at| truth(7, 4, at)).collect();
                assert_eq!(words, right, "poll {asked}");
                answered += 1;
            }
            Err(ReadError::LeftAlone { .. }) => continue,
            Err(_) => {}
        }
        asked += 1;
    }
    assert!(answered >= 400, "{answered} of 500");
    let settings = tcgetattr(&near).expect("a terminal");
    let modes = settings.control_modes;
    assert_eq!(settings.input_speed(), 19_200);
    // A pseudo-terminal has no check bit to set.
    assert!(modes.contains(ControlModes::CS8 | ControlModes::CLOCAL | ControlModes::CREAD));
    assert!(!modes.intersects(ControlModes::CSTOPB | ControlModes::CRTSCTS));
}

#[tokio::test]
async fn an_adapter_that_is_pulled_out_is_found_again_when_it_is_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = folder.path().join("adapter");
    let line = Line::open(
        Place::Serial(config(port.to_str().expect("plain").to_owned())),
        Chance::seeded(2),
    );
    let error = line.read(ask(0)).await.expect_err("not there");
    assert!(error.to_string().contains("plugged in"), "{error}");
    let (_device, _near, name) = wire(Vec::new());
    std::os::unix::fs::symlink(name, &port).expect("linked");
    let words = line.read(ask(0)).await.expect("an edge does not wait");
    assert_eq!(words[0], truth(7, 4, 0));
}
