//! What a faulty device shows: the right image, bent.

use super::{ChainEnd, Fault};
use crate::devices::altered::{asleep, coarser, low_word_first};
use crate::devices::{Bank, DeviceImage, INVERTER_UNIT};
use crate::world::CustomerTruth;

/// Where the chains of the simulated SunSpec devices start.
const SUNSPEC: u16 = 40_000;
/// Number of a vendor's own model.
const VENDOR_MODEL: u16 = 64_001;

/// The image as it is shown with a fault; `unit`: the device concerned, none for all of a house.
pub(crate) fn bent(
    image: &mut DeviceImage,
    unit: Option<u8>,
    fault: &Fault,
    truth: &CustomerTruth,
) {
    let is_dark = truth.solar.is_none_or(|solar| solar.power_dw == 0);
    let units = image.units.iter_mut().filter(|(id, _)| unit.is_none_or(|only| only == **id));
    for (id, shown) in units {
        match fault {
            Fault::AsleepAtNight {} if *id == INVERTER_UNIT && is_dark => asleep(shown),
            Fault::ScaleFactor { shift } => coarser(shown, *shift),
            Fault::WordOrder {} => low_word_first(shown),
            _ => {}
        }
        for bank in shown.holding.iter_mut().filter(|bank| bank.start == SUNSPEC) {
            bend_chain(bank, fault);
        }
    }
}

fn bend_chain(bank: &mut Bank, fault: &Fault) {
    let end = bank.registers.len() - 2;
    match fault {
        Fault::ChainEnd { how: ChainEnd::Zero } => bank.registers[end..].fill(0),
        Fault::ChainEnd { how: ChainEnd::Refused } => bank.registers.truncate(end),
        Fault::ChainEnd { how: ChainEnd::Loop } => {
            bank.registers[end..].copy_from_slice(&[VENDOR_MODEL, 0xfffe]);
        }
        Fault::Base { address } => bank.start = *address,
        _ => {}
    }
}
