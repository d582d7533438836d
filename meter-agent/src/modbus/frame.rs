//! Requests and answers as bytes, in both framings. Pure.
//!
//! Modbus TCP: transaction, protocol 0, length, unit, function, content (Modbus Messaging on TCP/IP
//! Implementation Guide V1.0b, 3.1.3). RTU: unit, function, content, CRC-16 with the low byte first
//! (Modbus over Serial Line V1.02, 2.5.1). RTU has no transaction and no length of its own: how long
//! an answer is follows from its function and its byte count.

use super::read::Read;

/// How bytes become requests and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Modbus TCP.
    Tcp,
    /// RTU, on a serial line or through a gateway that passes bytes on.
    Rtu,
}

/// Longest frame: 260 bytes over TCP, 256 in RTU.
pub(super) const MAX_FRAME: usize = 260;

/// What an answer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Registers.
    Words(Vec<u16>),
    /// A refusal.
    Exception(u8),
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Bytes it takes.
    pub length: usize,
    /// Only over TCP.
    pub transaction: Option<u16>,
    /// Who answers.
    pub unit: u8,
    /// Function code without the mark of an exception.
    pub function: u8,
    /// What it says.
    pub content: Content,
}

/// What the bytes so far are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of an answer.
    Part,
    /// An answer.
    Whole(Frame),
    /// No answer to any reading.
    Garbage(String),
}

impl Framing {
    /// The bytes of a request.
    #[must_use]
    pub fn request(self, transaction: u16, read: Read) -> Vec<u8> {
        let mut question = vec![read.unit(), read.function().code()];
        question.extend(read.address().to_be_bytes());
        question.extend(read.count().to_be_bytes());
        match self {
            Self::Tcp => {
                let mut bytes = transaction.to_be_bytes().to_vec();
                bytes.extend([0, 0, 0, 6]);
                bytes.extend(question);
                bytes
            }
            Self::Rtu => {
                question.extend(crc16(&question).to_le_bytes());
                question
            }
        }
    }

    /// Looks for an answer at the beginning of `bytes`.
    #[must_use]
    pub fn parse(self, bytes: &[u8]) -> Parsed {
        match self {
            Self::Tcp => parse_tcp(bytes),
            Self::Rtu => parse_rtu(bytes),
        }
    }
}

fn parse_tcp(bytes: &[u8]) -> Parsed {
    let Some((head, rest)) = bytes.split_first_chunk::<6>() else { return Parsed::Part };
    let [t1, t0, p1, p0, l1, l0] = *head;
    let length = usize::from(u16::from_be_bytes([l1, l0]));
    if [p1, p0] != [0, 0] || !(3..=MAX_FRAME - 6).contains(&length) {
        return Parsed::Garbage("bytes that are no Modbus TCP".to_owned());
    }
    let Some(body) = rest.get(..length) else { return Parsed::Part };
    let transaction = Some(u16::from_be_bytes([t1, t0]));
    match (body[1] & 0x80, content(body, length)) {
        (0, None) => Parsed::Garbage("an answer whose length contradicts itself".to_owned()),
        (_, None) => Parsed::Garbage("an exception of the wrong length".to_owned()),
        (_, Some(content)) => Parsed::Whole(Frame {
            length: length + 6,
            transaction,
            unit: body[0],
            function: body[1] & 0x7f,
            content,
        }),
    }
}

fn parse_rtu(bytes: &[u8]) -> Parsed {
    let &[unit, function, third, ..] = bytes else { return Parsed::Part };
    let length = match function {
        3 | 4 if third % 2 == 0 => 3 + usize::from(third),
        0x83 | 0x84 => 3,
        _ => return Parsed::Garbage("bytes that answer no reading".to_owned()),
    };
    let Some(bytes) = bytes.get(..length + 2) else { return Parsed::Part };
    let (body, crc) = bytes.split_at(length);
    if crc != crc16(body).to_le_bytes() {
        return Parsed::Garbage("an answer with a wrong checksum".to_owned());
    }
    let content = content(body, length).expect("cut to the length that it names");
    let function = function & 0x7f;
    Parsed::Whole(Frame { length: length + 2, transaction: None, unit, function, content })
}

/// What unit, function and content of `length` bytes say; none when the length is not theirs.
fn content(body: &[u8], length: usize) -> Option<Content> {
    if body[1] & 0x80 != 0 {
        return (length == 3).then(|| Content::Exception(body[2]));
    }
    let words = body.get(3..3 + usize::from(body[2]))?;
    let whole = length == 3 + words.len() && words.len() % 2 == 0;
    let words = || words.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    whole.then(|| Content::Words(words().collect()))
}

/// CRC-16 of Modbus: polynomial 0xA001 (reflected), all ones at the start.
#[must_use]
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xa001 } else { crc >> 1 }
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::read::Function;
    use super::*;

    fn read(count: u16) -> Read {
        Read::new(0x11, Function::Holding, 0x6b, count).expect("possible")
    }

    #[test]
    fn requests_are_the_standards_examples() {
        // Modbus Application Protocol V1.1b3, 6.3; the checksum is the well-known one for 11 03 …
        let rtu = [0x11, 0x03, 0x00, 0x6b, 0x00, 0x03, 0x76, 0x87];
        assert_eq!(Framing::Rtu.request(9, read(3)), rtu);
        let tcp = [0x15, 0x01, 0, 0, 0, 6, 0x11, 0x03, 0x00, 0x6b, 0x00, 0x03];
        assert_eq!(Framing::Tcp.request(0x1501, read(3)), tcp);
    }

    fn with_crc(body: &[u8]) -> Vec<u8> {
        [body, &crc16(body).to_le_bytes()].concat()
    }

    fn with_head(body: &[u8]) -> Vec<u8> {
        let length = u8::try_from(body.len()).expect("short");
        [&[0, 7, 0, 0, 0, length], body].concat()
    }

    #[test]
    fn answers_are_taken_whole_or_not_at_all() {
        let bodies: [(&[u8], Content); 3] = [
            (&[0x11, 3, 4, 0xae, 0x41, 0x56, 0x52], Content::Words(vec![0xae41, 0x5652])),
            (&[0x11, 0x83, 2], Content::Exception(2)),
            (&[0x11, 0x84, 0x0b], Content::Exception(0x0b)),
        ];
        for (body, content) in bodies {
            for (framing, bytes) in
                [(Framing::Rtu, with_crc(body)), (Framing::Tcp, with_head(body))]
            {
                for length in 0..bytes.len() {
                    assert_eq!(framing.parse(&bytes[..length]), Parsed::Part, "{length} bytes");
                }
                let Parsed::Whole(frame) = framing.parse(&[&bytes[..], &[1, 2]].concat()) else {
                    panic!("{framing:?} {body:?}")
                };
                assert_eq!((frame.length, frame.unit), (bytes.len(), 0x11));
                assert_eq!((frame.function, frame.content), (body[1] & 0x7f, content.clone()));
                assert_eq!(frame.transaction, (framing == Framing::Tcp).then_some(7));
            }
        }
    }

    #[test]
    fn what_contradicts_itself_is_garbage() {
        for (framing, bytes) in [
            (Framing::Rtu, vec![0x11, 6, 4, 0, 0]),
            (Framing::Rtu, vec![0x11, 3, 3, 0, 0]),
            (Framing::Rtu, vec![0x11, 3, 2, 0, 0, 0, 0]),
            (Framing::Tcp, vec![0, 7, 0, 1, 0, 5]),
            (Framing::Tcp, vec![0, 7, 0, 0, 0, 2]),
            (Framing::Tcp, vec![0, 7, 0, 0, 1, 0]),
            (Framing::Tcp, with_head(&[0x11, 3, 4, 0, 0])),
            (Framing::Tcp, with_head(&[0x11, 3, 2, 0, 0, 0])),
            (Framing::Tcp, with_head(&[0x11, 3, 3, 0, 0, 0])),
            (Framing::Tcp, with_head(&[0x11, 0x83, 2, 0])),
        ] {
            let parsed = framing.parse(&bytes);
            assert!(matches!(parsed, Parsed::Garbage(_)), "{framing:?} {bytes:?}: {parsed:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for framing in [Framing::Tcp, Framing::Rtu] {
                if let Parsed::Whole(frame) = framing.parse(&bytes) {
                    prop_assert!(frame.length <= bytes.len());
                }
            }
        }

        #[test]
        fn a_flipped_bit_never_passes_for_the_answer(
            words in proptest::collection::vec(any::<u16>(), 1..125), at in any::<usize>(), bit in 0_u8..8,
        ) {
            let mut body = vec![1, 4, u8::try_from(words.len() * 2).expect("bounded")];
            body.extend(words.iter().flat_map(|word| word.to_be_bytes()));
            let mut bytes = with_crc(&body);
            let at = at % bytes.len();
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(!matches!(Framing::Rtu.parse(&bytes), Parsed::Whole(_)));
        }
    }
}
