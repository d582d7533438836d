//! One SunSpec model as registers: starts with the sentinels of unimplemented points, then gets
//! values through their scale factors.

use super::model_map::{Kind, Model, Point, model};

/// The registers of one model, ID and L included.
pub(super) struct Block {
    model: &'static Model,
    registers: Vec<u16>,
}

impl Block {
    /// A model with every point unimplemented.
    pub fn new(id: u16) -> Self {
        let model = model(id);
        let mut registers = vec![0; usize::from(model.length) + 2];
        for point in model.points.values() {
            let (first, rest) = point.kind.sentinel();
            registers[point.offset..point.offset + point.registers].fill(rest);
            registers[point.offset] = first;
        }
        registers[0] = model.id;
        registers[1] = model.length;
        Self { model, registers }
    }

    /// The finished registers.
    ///
    /// # Panics
    /// If a mandatory point was forgotten: a bug in the device.
    pub fn finish(self) -> Vec<u16> {
        for (name, point) in &self.model.points {
            let counts = matches!(point.kind, Kind::Acc32 | Kind::Acc64 | Kind::Text | Kind::Pad);
            if point.mandatory && !counts {
                let span = &self.registers[point.offset..point.offset + point.registers];
                let (first, rest) = point.kind.sentinel();
                let unset = span[0] == first && span[1..].iter().all(|register| *register == rest);
                assert!(!unset, "model {} leaves the mandatory {name} out", self.model.id);
            }
        }
        self.registers
    }

    fn point(&self, name: &str) -> &'static Point {
        self.model.points.get(name).expect("a device names points of its model")
    }

    fn write(&mut self, point: &Point, value: &[u16]) {
        self.registers[point.offset..point.offset + point.registers].copy_from_slice(value);
    }

    /// Sets a scale factor.
    pub fn scale(&mut self, name: &str, exponent: i16) -> &mut Self {
        let point = self.point(name);
        debug_assert!(point.kind == Kind::Sf && (-10..=10).contains(&exponent));
        self.write(point, &[exponent.cast_unsigned()]);
        self
    }

    /// Sets a physical quantity: rounded to the resolution of its scale factor, and held at the
    /// end of the register's range. A point without a scale factor has the unit itself.
    pub fn real(&mut self, name: &str, value: f64) -> &mut Self {
        let point = self.point(name);
        let exponent = point
            .scale
            .as_ref()
            .map_or(0, |scale| self.registers[self.point(scale).offset].cast_signed());
        debug_assert!(exponent != i16::MIN, "the scale factor of {name} comes first");
        let scaled = (value / 10f64.powi(i32::from(exponent))).round();
        self.integer(point, scaled);
        self
    }

    /// Sets an enumeration, a bit field or a plain count.
    pub fn code(&mut self, name: &str, value: u32) -> &mut Self {
        let point = self.point(name);
        self.integer(point, f64::from(value));
        self
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    fn integer(&mut self, point: &Point, value: f64) {
        match point.kind {
            // The last value of each range is the sentinel.
            Kind::I16 => {
                let value = value.clamp(-32_767.0, 32_767.0) as i16;
                self.write(point, &[value.cast_unsigned()]);
            }
            Kind::U16 => self.write(point, &[value.clamp(0.0, 65_534.0) as u16]),
            Kind::I32 => {
                let value = value.clamp(-2_147_483_647.0, 2_147_483_647.0) as i32;
                self.write(point, &halves(value.cast_unsigned()));
            }
            Kind::U32 => {
                self.write(point, &halves(value.clamp(0.0, 4_294_967_294.0) as u32));
            }
            Kind::F32 => self.write(point, &halves((value as f32).to_bits())),
            Kind::Sf | Kind::Pad | Kind::Acc32 | Kind::U64 | Kind::Acc64 | Kind::Text => {
                unreachable!("set by scale, counter or text")
            }
        }
    }

    /// Sets an energy counter whose scale factor is 0; a counter that is full starts again.
    pub fn counter(&mut self, name: &str, value: u64) -> &mut Self {
        let point = self.point(name);
        let bytes = value.to_be_bytes();
        let words: Vec<u16> =
            bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        debug_assert!(matches!(point.kind, Kind::Acc32 | Kind::Acc64 | Kind::U64));
        self.write(point, &words[4 - point.registers..]);
        self
    }

    /// Sets a text, cut at the length of the point and filled with NULs.
    pub fn text(&mut self, name: &str, text: &str) -> &mut Self {
        let point = self.point(name);
        let mut bytes: Vec<u8> = text.bytes().filter(u8::is_ascii).collect();
        bytes.resize(point.registers * 2, 0);
        let words: Vec<u16> =
            bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        self.write(point, &words);
        self
    }
}

fn halves(value: u32) -> [u16; 2] {
    let bytes = value.to_be_bytes();
    [u16::from_be_bytes([bytes[0], bytes[1]]), u16::from_be_bytes([bytes[2], bytes[3]])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_through_their_scale_factors_and_stay_off_the_sentinels() {
        let mut block = Block::new(203);
        block.scale("W_SF", 1).real("W", -1_234.0).scale("V_SF", -1).real("PhVphA", 230.94);
        block.real("WphA", 1e9).counter("TotWhImp", 0x0001_0002_0003);
        assert_eq!(block.registers[18].cast_signed(), -123);
        assert_eq!(block.registers[8], 2_309);
        assert_eq!(block.registers[19], 0x7fff);
        assert_eq!(block.registers[46..48], [0x0002, 0x0003]);
        assert_eq!(block.registers[20], 0x8000, "unimplemented");
        assert_eq!(block.registers[38..40], [0, 0], "an accumulator that was never counted");
    }

    #[test]
    fn texts_are_cut_and_filled() {
        let mut block = Block::new(1);
        block.text("Mn", "abc").text("Vr", "12345678901234567890");
        assert_eq!(block.registers[2..5], [0x6162, 0x6300, 0]);
        assert_eq!(block.registers[49], 0x3536);
    }

    #[test]
    #[should_panic(expected = "leaves the mandatory")]
    fn a_forgotten_mandatory_point_is_a_bug() {
        Block::new(103).finish();
    }
}
