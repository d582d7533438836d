//! Which requests read a map: as few as the device allows.
//!
//! A value and its scale factor always come in one request, because scale factors move during the
//! day and a value with yesterday's factor is wrong by a power of ten. Where the device's limits
//! make that impossible, the factors are read before and after the value and must agree.

use super::fields::{Block, Field};
use super::identity::Identity;
use super::map::{DeviceMap, ModbusRules, Transport};
use super::registers::BlockAnswer;

/// Registers in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// First register; in a SunSpec map the offset from the model's first.
    pub address: u16,
    /// How many.
    pub count: u16,
}

impl Span {
    /// The first register behind it.
    fn end(self) -> u32 {
        u32::from(self.address) + u32::from(self.count)
    }

    /// The smallest span that covers both.
    fn with(self, other: Self) -> Option<Self> {
        let address = self.address.min(other.address);
        let count = u16::try_from(self.end().max(other.end()) - u32::from(address)).ok()?;
        Some(Self { address, count })
    }
}

/// One thing to ask a device for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Function code, 3 or 4.
    pub function: u8,
    /// The numbers that come with it, and where. In a SunSpec map `address` is the offset from the
    /// model's first register, and the answer shows the model's id and length only when it is 0.
    pub block: Block,
    /// Scale factors that are too far away for the same request.
    pub scales: Option<Span>,
}

impl Read {
    /// The requests, in this order. Almost always one.
    #[must_use]
    pub fn requests(&self) -> Vec<Span> {
        let values = Span { address: self.block.address, count: self.block.count };
        match self.scales {
            None => vec![values],
            Some(scales) => vec![scales, values, scales],
        }
    }

    /// What the answers to [`Self::requests`] say together.
    #[must_use]
    pub fn answer(&self, mut words: Vec<Vec<u16>>) -> BlockAnswer {
        let Some(scales) = self.scales else {
            return match words.pop() {
                Some(words) => BlockAnswer::Words(words),
                None => BlockAnswer::Fault("no answer at all".to_owned()),
            };
        };
        match <[Vec<u16>; 3]>::try_from(words) {
            Ok([before, values, after]) if before == after => {
                BlockAnswer::Pieces(vec![(self.block.address, values), (scales.address, after)])
            }
            Ok(_) => BlockAnswer::Fault("scale factors changed while reading".to_owned()),
            Err(_) => BlockAnswer::Fault("an answer is missing".to_owned()),
        }
    }

    /// The part of it that a SunSpec model of `length` registers (after id and length) has; none
    /// when it lies behind its end.
    #[must_use]
    pub fn within(&self, length: u16) -> Option<Self> {
        let end = u32::from(length) + 2;
        let scales_fit = self.scales.is_none_or(|scales| scales.end() <= end);
        if u32::from(self.block.address) >= end || !scales_fit {
            return None;
        }
        let room = u16::try_from(end - u32::from(self.block.address)).unwrap_or(u16::MAX);
        let mut read = self.clone();
        read.block.count = read.block.count.min(room);
        Some(read)
    }
}

/// The requests for everything in a map that every such device has.
#[must_use]
pub fn plan(map: &DeviceMap) -> Vec<Read> {
    plan_for(map, &Identity::default())
}

/// The requests for everything in a map that this device has.
#[must_use]
pub fn plan_for(map: &DeviceMap, identity: &Identity) -> Vec<Read> {
    let Some(rules) = &map.modbus else { return Vec::new() };
    let mut reads = Vec::new();
    for block in &map.blocks {
        if !block.when.as_ref().is_none_or(|when| when.holds(identity)) {
            continue;
        }
        let mut block = block.clone();
        block.fields.retain(|field| field.when.as_ref().is_none_or(|when| when.holds(identity)));
        let function = block.function.unwrap_or(rules.function);
        if block.fields.is_empty() {
            continue;
        }
        if block.count > 0 {
            reads.push(Read { function, block, scales: None });
        } else {
            let limits = Limits { rules, function, sunspec: map.transport == Transport::Sunspec };
            limits.split(&block, &mut reads);
        }
    }
    reads
}

/// What a device can bear.
struct Limits<'a> {
    rules: &'a ModbusRules,
    function: u8,
    sunspec: bool,
}

impl Limits<'_> {
    fn split(&self, block: &Block, reads: &mut Vec<Read>) {
        let (mut whole, mut torn): (Vec<(Span, &Field)>, Vec<&Field>) = (Vec::new(), Vec::new());
        for field in &block.fields {
            match self.atom(field) {
                Some(span) => whole.push((span, field)),
                None => torn.push(field),
            }
        }
        whole.sort_by_key(|(span, field)| (*span, field.at));
        // In a SunSpec model everything can be read, and its head shows that it is the model.
        let head = self.sunspec.then_some(Span { address: 0, count: 2 });
        let mut window: Option<(Span, Vec<Field>)> = head.map(|head| (head, Vec::new()));
        let mut push = |window: Option<(Span, Vec<Field>)>| {
            if let Some((span, fields)) = window.filter(|(_, fields)| !fields.is_empty()) {
                reads.push(self.read(block, span, fields, None));
            }
        };
        for (span, field) in whole {
            let joined = window.as_ref().and_then(|(own, _)| self.join(*own, span));
            match (joined, &mut window) {
                (Some(joined), Some((own, fields))) => {
                    *own = joined;
                    fields.push(field.clone());
                }
                _ => push(window.replace((span, vec![field.clone()]))),
            }
        }
        push(window);
        for field in torn {
            let span = self.aligned(Span { address: field.at, count: field.kind.registers() });
            let scale = field.scale_at.map(|address| self.aligned(Span { address, count: 1 }));
            reads.push(self.read(block, span, vec![field.clone()], scale));
        }
    }

    fn read(&self, block: &Block, span: Span, fields: Vec<Field>, scales: Option<Span>) -> Read {
        let Span { address, count } = span;
        Read {
            function: self.function,
            block: Block { address, count, fields, ..block.clone() },
            scales,
        }
    }

    /// The registers that must come together for a field; none when one request cannot hold them.
    fn atom(&self, field: &Field) -> Option<Span> {
        let value = Span { address: field.at, count: field.kind.registers() };
        let span = match field.scale_at {
            None => Some(value),
            Some(address) => value.with(Span { address, count: 1 }),
        };
        span.map(|span| self.aligned(span)).filter(|&span| self.can_bear(span))
    }

    /// Both in one request, when the device can bear it and the gap between them is small.
    fn join(&self, window: Span, span: Span) -> Option<Span> {
        let gap = u32::from(span.address).saturating_sub(window.end());
        let gap_is_small = self.sunspec || gap <= u32::from(self.rules.max_gap);
        window
            .with(span)
            .map(|both| self.aligned(both))
            .filter(|&both| gap_is_small && self.can_bear(both))
    }

    fn can_bear(&self, span: Span) -> bool {
        let meets_hole = self.rules.no_read.iter().any(|hole| {
            hole.function.is_none_or(|function| function == self.function)
                && u32::from(hole.from) < span.end()
                && span.address <= hole.to
        });
        span.count <= self.rules.max_registers && !meets_hole
    }

    fn aligned(&self, span: Span) -> Span {
        if !self.rules.even {
            return span;
        }
        let address = span.address & !1;
        let end = span.end().next_multiple_of(2).min(65_536);
        Span { address, count: u16::try_from(end - u32::from(address)).unwrap_or(u16::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    /// A map with these rules and fields (`at`, `type`, `scale_at`).
    fn map(rules: &str, fields: &[(u16, &str, Option<u16>)]) -> DeviceMap {
        use std::fmt::Write;
        let mut text = format!(
            "id = \"x\"\nname = \"x\"\ntransport = \"modbus\"\nstatus = \"unverified\"\n\
             sources = [\"x\"]\n[modbus]\nfunction = 4\naddress_base = 0\n{rules}\n[[block]]\n"
        );
        for (index, (at, kind, scale)) in fields.iter().enumerate() {
            let scale = scale.map_or(String::new(), |at| format!("scale_at = {at}\n"));
            let key = if index == 0 { "voltage_l1".to_owned() } else { format!("x{index}") };
            write!(
                text,
                "[[block.field]]\nkey = \"{key}\"\nat = {at}\ntype = \"{kind}\"\nunit = \"V\"\n{scale}"
            )
            .expect("memory");
        }
        let names: Vec<String> = (1..fields.len()).map(|index| format!("\"x{index}\"")).collect();
        if !names.is_empty() {
            let names = names.join(", ");
            write!(text, "[[derived]]\nkey = \"voltage_l2\"\nplus = [{names}]\n").expect("memory");
        }
        file::maps(&text).unwrap_or_else(|fault| panic!("{fault:?}")).remove(0)
    }

    fn check(rules: &str, fields: &[(u16, &str, Option<u16>)], expected: &[(u16, u16)]) {
        let reads = plan(&map(rules, fields));
        let asked: Vec<(u16, u16)> =
            reads.iter().flat_map(Read::requests).map(|span| (span.address, span.count)).collect();
        assert_eq!(asked, expected, "{rules}: {fields:?}");
    }

    #[test]
    fn requests_are_few_but_bearable() {
        let near = [(10, "int16", None), (30, "uint32", None), (20, "float64", None)];
        check("", &near, &[(10, 22)]);
        check("max_gap = 5", &near, &[(10, 1), (20, 4), (30, 2)]);
        check("max_gap = 6", &near, &[(10, 1), (20, 12)]);
        check("max_registers = 14", &near, &[(10, 14), (30, 2)]);
        check("no_read = [{ from = 24, to = 25 }]", &near, &[(10, 14), (30, 2)]);
        check("no_read = [{ from = 24, to = 25, function = 3 }]", &near, &[(10, 22)]);
        check("even = true", &[(11, "int16", None), (14, "int16", None)], &[(10, 6)]);
        check("", &[(65_535, "int16", None)], &[(65_535, 1)]);
        check("max_gap = 125", &[(0, "int16", None), (124, "int16", None)], &[(0, 125)]);
        check("max_gap = 125", &[(0, "int16", None), (125, "int16", None)], &[(0, 1), (125, 1)]);
    }

    #[test]
    fn a_scale_factor_comes_with_its_value_or_is_read_twice() {
        // The factor is shared, and too far from both values for one request: it is asked for with each.
        let shared = [(10, "int16", Some(100)), (190, "int16", Some(100))];
        check("", &shared, &[(10, 91), (100, 91)]);
        let torn = [(10, "int16", Some(200))];
        check("", &torn, &[(200, 1), (10, 1), (200, 1)]);
        check(
            "no_read = [{ from = 12, to = 12 }]",
            &[(10, "int16", Some(14))],
            &[(14, 1), (10, 1), (14, 1)],
        );
        let read = plan(&map("", &torn)).remove(0);
        let pieces = BlockAnswer::Pieces(vec![(10, vec![7]), (200, vec![1])]);
        assert_eq!(read.answer(vec![vec![1], vec![7], vec![1]]), pieces);
        for torn in [vec![vec![1], vec![7], vec![2]], vec![vec![1], vec![7]], vec![]] {
            assert!(matches!(read.answer(torn), BlockAnswer::Fault(_)));
        }
    }

    #[test]
    fn what_only_some_devices_have_is_asked_for_once_the_device_is_known() {
        use super::super::map::{Identify, Trait, TraitType, When};
        let mut map = map("", &[(10, "int16", None), (90, "int16", None)]);
        let when = When { model: vec!["AB*".to_owned()], ..When::default() };
        map.blocks[0].fields[1].when = Some(when);
        let model = Identify {
            is: Trait::Model,
            models: Vec::new(),
            function: None,
            at: 0,
            kind: TraitType::Text,
            registers: 1,
            expect: Vec::new(),
        };
        let asked = |identity: &Identity| plan_for(&map, identity).len();
        let mut identity = Identity::default();
        assert_eq!((plan(&map).len(), asked(&identity)), (1, 1));
        identity.learn(&model, &[0x5859]).expect("any");
        assert_eq!(asked(&identity), 1);
        identity.learn(&model, &[0x4142]).expect("any");
        assert_eq!(asked(&identity), 2);
    }

    #[test]
    fn a_short_model_is_read_as_far_as_it_goes() {
        let mut read = plan(&map("", &[(10, "int16", None), (30, "uint32", None)])).remove(0);
        read.block.address = 0;
        read.block.count = 32;
        assert_eq!(read.within(30).map(|read| read.block.count), Some(32));
        assert_eq!(read.within(20).map(|read| read.block.count), Some(22));
        read.block.address = 22;
        assert_eq!(read.within(20), None);
    }

    proptest::proptest! {
        /// Whatever the fields: every value is in a request with its factor, no request is too
        /// large, and none crosses a hole.
        #[test]
        fn plans_keep_every_limit(
            ats in proptest::collection::btree_set(0_u16..1_000, 1..20),
            scale in proptest::option::of(0_u16..1_000),
            max in 4_u16..126,
            gap in 0_u16..126,
            hole in 0_u16..1_000,
        ) {
            // Four registers apart at least, beside the hole and beside the factor.
            let near = |at: u16, other: u16| at.abs_diff(other) < 4;
            let mut fields: Vec<(u16, &str, Option<u16>)> = Vec::new();
            for at in ats {
                let free = fields.iter().all(|&(other, _, _)| !near(at, other)) && !near(at, hole);
                let scale = scale.filter(|&scale| !near(at, scale) && scale != hole);
                if free {
                    fields.push((at, "uint32", scale));
                }
            }
            proptest::prop_assume!(!fields.is_empty());
            let rules = format!(
                "max_registers = {max}\nmax_gap = {gap}\nno_read = [{{ from = {hole}, to = {hole} }}]"
            );
            let map = map(&rules, &fields);
            let reads = plan(&map);
            let told: usize = reads.iter().map(|read| read.block.fields.len()).sum();
            proptest::prop_assert_eq!(told, fields.len());
            for read in reads {
                for span in read.requests() {
                    proptest::prop_assert!((1..=max).contains(&span.count));
                    let crosses = span.address <= hole && u32::from(hole) < span.end();
                    proptest::prop_assert!(!crosses);
                }
                let values = Span { address: read.block.address, count: read.block.count };
                for field in &read.block.fields {
                    let own = Span { address: field.at, count: 2 };
                    proptest::prop_assert_eq!(values.with(own), Some(values));
                    if let Some(address) = field.scale_at {
                        let home = read.scales.unwrap_or(values);
                        proptest::prop_assert_eq!(home.with(Span { address, count: 1 }), Some(home));
                    }
                }
            }
        }
    }
}
