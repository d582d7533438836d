//! The SunSpec models as data: which point stands where, of what type, under which scale factor.

use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Type of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    I16,
    U16,
    /// Scale factor: a signed power of ten.
    Sf,
    Pad,
    I32,
    U32,
    Acc32,
    F32,
    U64,
    Acc64,
    Text,
}

impl Kind {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "int16" => Self::I16,
            "uint16" | "enum16" | "bitfield16" | "count" => Self::U16,
            "sunssf" => Self::Sf,
            "pad" => Self::Pad,
            "int32" => Self::I32,
            "uint32" | "enum32" | "bitfield32" => Self::U32,
            "acc32" => Self::Acc32,
            "float32" => Self::F32,
            "uint64" => Self::U64,
            "acc64" => Self::Acc64,
            "string" => Self::Text,
            _ => return None,
        })
    }

    /// What a register of an unimplemented point holds, first register first.
    pub const fn sentinel(self) -> (u16, u16) {
        match self {
            Self::I16 | Self::Sf | Self::Pad => (0x8000, 0),
            Self::U16 | Self::U32 | Self::U64 => (0xffff, 0xffff),
            Self::I32 => (0x8000, 0),
            Self::F32 => (0x7fc0, 0),
            Self::Acc32 | Self::Acc64 | Self::Text => (0, 0),
        }
    }
}

/// A point of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Point {
    /// Registers from the model's ID.
    pub offset: usize,
    /// Registers it takes.
    pub registers: usize,
    pub kind: Kind,
    /// Name of its scale factor.
    pub scale: Option<String>,
    pub mandatory: bool,
}

/// A model: all points of its fixed part and of one repetition of its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Model {
    pub id: u16,
    /// Registers after ID and L.
    pub length: u16,
    /// By name; a name inside of a group carries the group's name as prefix (`Prt.DCA`).
    pub points: BTreeMap<String, Point>,
}

/// A model that the devices implement.
pub(super) fn model(id: u16) -> &'static Model {
    known_model(id).expect("only shipped models are asked for")
}

/// A model, if the devices implement it.
pub(super) fn known_model(id: u16) -> Option<&'static Model> {
    static MODELS: OnceLock<BTreeMap<u16, Model>> = OnceLock::new();
    let models = MODELS.get_or_init(|| {
        parse(include_str!("sunspec_models.txt")).expect("the shipped model file is well-formed")
    });
    models.get(&id)
}

fn parse(text: &str) -> Option<BTreeMap<u16, Model>> {
    let mut models = BTreeMap::new();
    for block in text.split("### ").skip(1) {
        let (head, body) = block.split_once('\n')?;
        let id = head.split(' ').next()?.parse().ok()?;
        let length: u16 = head.rsplit_once("L=")?.1.trim().parse().ok()?;
        models.insert(id, Model { id, length, points: parse_points(body, length)? });
    }
    Some(models)
}

fn parse_points(body: &str, length: u16) -> Option<BTreeMap<String, Point>> {
    let mut listed: Vec<(usize, String, Kind, Option<String>, bool)> = Vec::new();
    let mut group = String::new();
    for word in body.split_whitespace() {
        if let Some(name) = word.strip_prefix('[') {
            group = format!("{name}.");
        } else if word == "]" {
            group.clear();
        } else if word.contains(':') {
            let mut parts = word.split(':');
            let offset: usize = parts.next()?.parse().ok()?;
            let name = format!("{group}{}", parts.next()?);
            let kind = parts.next()?;
            let mandatory = kind.ends_with('!');
            let kind = kind.trim_end_matches('!');
            let (kind, scale) = match kind.split_once('*') {
                Some((kind, scale)) => (kind, Some(scale.to_owned())),
                None => (kind, None),
            };
            listed.push((offset, name, Kind::parse(kind)?, scale, mandatory));
        }
    }
    let ends: Vec<usize> = listed.iter().skip(1).map(|next| next.0).collect();
    let end = usize::from(length) + 2;
    let mut points = BTreeMap::new();
    for ((offset, name, kind, scale, mandatory), next) in
        listed.into_iter().zip(ends.into_iter().chain([end]))
    {
        let registers = next.checked_sub(offset)?;
        points.insert(name, Point { offset, registers, kind, scale, mandatory });
    }
    Some(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_is_complete_and_every_type_has_its_width() {
        for (id, count) in
            [(1, 66), (103, 50), (120, 26), (124, 24), (203, 105), (713, 7), (714, 43), (802, 62)]
        {
            let model = model(id);
            assert_eq!(model.length, count, "model {id}");
            let taken: usize = model.points.values().map(|point| point.registers).sum();
            assert_eq!(taken, usize::from(count) + 2, "model {id} has holes");
            for (name, point) in &model.points {
                let width = match point.kind {
                    Kind::I16 | Kind::U16 | Kind::Sf | Kind::Pad => 1,
                    Kind::I32 | Kind::U32 | Kind::Acc32 | Kind::F32 => 2,
                    Kind::U64 | Kind::Acc64 => 4,
                    Kind::Text => point.registers,
                };
                assert_eq!(point.registers, width, "{id} {name}");
                if let Some(scale) = &point.scale {
                    assert_eq!(model.points[scale].kind, Kind::Sf, "{id} {name}");
                }
            }
        }
    }
}
