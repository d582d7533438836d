//! The one request that writes. It is made from the owner's leave and from nothing else.

use super::read::{Function, Read};
use crate::control::Enabled;
use crate::device::Frame;

/// Most registers that a setpoint takes.
pub const MAX_WRITTEN: usize = 32;

/// Registers to write: function 6 or 16, inside the address space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    unit: u8,
    single: bool,
    address: u16,
    words: Vec<u16>,
}

impl Write {
    /// A request for one of an enabled device's registers; none when it does not fit the protocol.
    /// `base` is the address of the model that the frame counts from.
    #[must_use]
    pub(crate) fn new(
        _leave: &Enabled,
        unit: u8,
        function: u8,
        base: u16,
        frame: &Frame,
    ) -> Option<Self> {
        let address = base.checked_add(frame.at)?;
        let last = u16::try_from(frame.words.len()).ok()?.checked_sub(1)?;
        let single = function == 6;
        let fits = address.checked_add(last).is_some()
            && frame.words.len() <= MAX_WRITTEN
            && (!single || last == 0);
        fits.then(|| Self { unit, single, address, words: frame.words.clone() })
    }

    /// Whose registers.
    #[must_use]
    pub const fn unit(&self) -> u8 {
        self.unit
    }

    /// 6 or 16.
    #[must_use]
    pub const fn function(&self) -> u8 {
        if self.single { 6 } else { 16 }
    }

    /// The first register.
    #[must_use]
    pub const fn address(&self) -> u16 {
        self.address
    }

    /// What to write.
    #[must_use]
    pub fn words(&self) -> &[u16] {
        &self.words
    }

    /// The question for what stands there afterwards.
    #[must_use]
    pub(crate) fn read_back(&self) -> Read {
        let count = u16::try_from(self.words.len()).expect("checked by new");
        Read::new(self.unit, Function::Holding, self.address, count).expect("checked by new")
    }
}
