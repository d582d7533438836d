//! SunSpec discovery: walking the chain of models, without doing the reading itself.
//!
//! A device has the marker `SunS` at register 40000, 0 or 50000 (40001 where somebody took the number
//! in a document for the one on the wire), and behind it blocks of (model id, length, registers). The
//! chain ends with id 0xFFFF; devices are known that end it with id 0 or with an illegal address
//! instead. Addresses only grow here: a length that leads past the address space is refused, and one
//! that leads back to a model that was already seen is called what it is, a loop.

/// Where the marker may be, in the order of trying.
const BASES: [u16; 4] = [40_000, 0, 50_000, 40_001];
/// `SunS` in two registers.
const MARKER: [u16; 2] = [0x5375, 0x6e53];
const END: u16 = 0xffff;
/// Most models in a chain.
const MAX_MODELS: usize = 96;

/// One model in a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    /// Model number.
    pub id: u16,
    /// Address of its first register, which holds the id.
    pub address: u16,
    /// Registers after id and length.
    pub length: u16,
}

/// The models of a device, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain(Vec<Model>);

impl Chain {
    /// All models.
    #[must_use]
    pub fn models(&self) -> &[Model] {
        &self.0
    }

    /// The first model with one of these numbers, the numbers in order of preference.
    #[must_use]
    pub fn find(&self, ids: &[u16]) -> Option<Model> {
        ids.iter().find_map(|&id| self.0.iter().copied().find(|model| model.id == id))
    }
}

/// Why a device has no usable chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// No marker anywhere.
    #[error(
        "no SunSpec marker at register 40000, 0, 50000 or 40001: is SunSpec switched on in the \
         device, and is the unit id right?"
    )]
    NoMarker,
    /// A length leads back to a model that was already seen.
    #[error(
        "model {id} at register {address} claims {length} registers, which leads back to register \
         {back_to}: the chain is a loop, and the device's firmware has to be mended"
    )]
    Loop {
        /// Model number.
        id: u16,
        /// Where it starts.
        address: u16,
        /// What it claims.
        length: u16,
        /// Where that leads.
        back_to: u16,
    },
    /// The lengths lead out of the address space.
    #[error(
        "model {id} at register {address} claims {length} registers, past the end: the chain is broken"
    )]
    Overlong {
        /// Model number.
        id: u16,
        /// Where it starts.
        address: u16,
        /// What it claims.
        length: u16,
    },
    /// More models than any device has.
    #[error("more than {MAX_MODELS} models: the chain is broken")]
    TooMany,
}

/// The next thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Read two holding registers at this address and call [`Walk::answer`].
    Read(u16),
    /// Done.
    Done(Chain),
}

/// A walk along the chain.
#[derive(Debug)]
pub struct Walk {
    base: usize,
    /// Address of the next model; none while the marker is looked for.
    next: Option<u16>,
    chain: Chain,
}

impl Walk {
    /// Starts looking for the marker.
    #[must_use]
    pub const fn new() -> Self {
        Self { base: 0, next: None, chain: Chain(Vec::new()) }
    }

    /// Where to read first.
    #[must_use]
    pub fn first(&self) -> Step {
        Step::Read(BASES[self.base])
    }

    /// Takes the two registers that were asked for; `None` when the device says there are none.
    ///
    /// # Errors
    /// [`ChainFault`].
    pub fn answer(&mut self, words: Option<[u16; 2]>) -> Result<Step, ChainFault> {
        let Some(address) = self.next else { return self.marker(words) };
        let Some([id, length]) = words.filter(|&[id, _]| id != END && id != 0) else {
            return Ok(Step::Done(std::mem::take(&mut self.chain)));
        };
        if self.chain.0.len() == MAX_MODELS {
            return Err(ChainFault::TooMany);
        }
        let next = address.checked_add(2).and_then(|start| start.checked_add(length));
        let next = next.ok_or_else(|| self.past_the_end(Model { id, address, length }))?;
        self.chain.0.push(Model { id, address, length });
        self.next = Some(next);
        Ok(Step::Read(next))
    }

    /// What to call a model whose end lies behind the last register.
    fn past_the_end(&self, model: Model) -> ChainFault {
        let Model { id, address, length } = model;
        let back_to = address.wrapping_add(2).wrapping_add(length);
        let seen = self.chain.0.iter().map(|model| model.address).chain([address]);
        if seen.chain(BASES.get(self.base).copied()).any(|start| start == back_to) {
            ChainFault::Loop { id, address, length, back_to }
        } else {
            ChainFault::Overlong { id, address, length }
        }
    }

    fn marker(&mut self, words: Option<[u16; 2]>) -> Result<Step, ChainFault> {
        if words == Some(MARKER) {
            let first = BASES[self.base] + 2;
            self.next = Some(first);
            return Ok(Step::Read(first));
        }
        self.base += 1;
        BASES.get(self.base).map(|&base| Step::Read(base)).ok_or(ChainFault::NoMarker)
    }
}

impl Default for Walk {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Walks over registers; addresses that are not there answer with an exception.
    fn walk(registers: &BTreeMap<u16, u16>) -> Result<Chain, ChainFault> {
        let mut walk = Walk::new();
        let mut step = walk.first();
        for _ in 0..200 {
            match step {
                Step::Done(chain) => return Ok(chain),
                Step::Read(address) => {
                    let pair = address.checked_add(1).and_then(|second| {
                        Some([*registers.get(&address)?, *registers.get(&second)?])
                    });
                    step = walk.answer(pair)?;
                }
            }
        }
        panic!("the walk does not end");
    }

    fn image(base: u16, chain: &[(u16, u16)]) -> BTreeMap<u16, u16> {
        let mut registers = BTreeMap::from([(base, MARKER[0]), (base + 1, MARKER[1])]);
        let mut at = base + 2;
        for &(id, length) in chain {
            registers.insert(at, id);
            registers.insert(at + 1, length);
            at = at.saturating_add(2).saturating_add(length);
        }
        registers
    }

    #[test]
    fn chains_are_found_at_every_base_and_with_every_end() {
        for base in BASES {
            for end in [Some((END, 0)), Some((0, 0)), None] {
                let mut models = vec![(1, 66), (103, 50), (802, 62)];
                models.extend(end);
                let chain = walk(&image(base, &models)).expect("a good chain");
                let found: Vec<_> =
                    chain.models().iter().map(|m| (m.id, m.address - base)).collect();
                assert_eq!(found, [(1, 2), (103, 70), (802, 122)], "base {base}, end {end:?}");
                assert_eq!(chain.find(&[713, 802]).map(|m| m.length), Some(62));
                assert_eq!(chain.find(&[203]), None);
            }
        }
    }

    #[test]
    fn broken_chains_are_refused() {
        assert_eq!(walk(&BTreeMap::new()), Err(ChainFault::NoMarker));
        assert_eq!(
            walk(&image(40_000, &[(1, 66), (9, 0xff00)])),
            Err(ChainFault::Overlong { id: 9, address: 40_070, length: 0xff00 })
        );
        // Back to itself, to the model before, and to the marker.
        for (base, models, address, back_to) in [
            (40_000, &[(1, 66), (9, 0xfffe)][..], 40_070, 40_070),
            (40_001, &[(1, 66), (9, 0xfffe - 68)], 40_071, 40_003),
            (0, &[(1, 66), (9, 0xfffe - 70)], 70, 0),
        ] {
            let length = models[1].1;
            let looping = ChainFault::Loop { id: 9, address, length, back_to };
            assert_eq!(walk(&image(base, models)), Err(looping));
        }
        assert_eq!(walk(&image(0, &vec![(7, 0); 200])), Err(ChainFault::TooMany));
    }
}
