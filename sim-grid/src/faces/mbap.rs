//! Modbus TCP framing, as bytes: a header of seven (number, protocol 0, length, unit) and then
//! function code and content.
//!
//! Of our own, because a device that misbehaves says what no server library lets it say.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest content after the length: unit, function code and 252 bytes.
const MAX_LENGTH: usize = 254;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    number: [u8; 2],
    /// Unit id.
    pub unit: u8,
    /// Function code.
    pub function: u8,
    /// Everything behind the function code.
    pub content: Vec<u8>,
}

/// A refusal: the exception code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal(pub u8);

impl Request {
    /// Reads the next question; none when the client has said goodbye.
    ///
    /// # Errors
    /// A broken connection, or bytes that are no Modbus: nothing can be found again behind them.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Self>> {
        let mut header = [0; 7];
        if stream.read(&mut header[..1]).await? == 0 {
            return Ok(None);
        }
        stream.read_exact(&mut header[1..]).await?;
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        if header[2..4] != [0, 0] || !(2..=MAX_LENGTH).contains(&length) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "this is no Modbus"));
        }
        let mut rest = vec![0; length - 1];
        stream.read_exact(&mut rest).await?;
        let content = rest.split_off(1);
        let number = [header[0], header[1]];
        Ok(Some(Self { number, unit: header[6], function: rest[0], content }))
    }

    /// First register and number of registers of a question for registers.
    pub fn registers(&self) -> Option<(u16, u16)> {
        let &[a, b, c, d] = self.content.as_slice() else { return None };
        Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
    }

    /// First register and content of a question that writes registers, one or several.
    pub fn writes(&self) -> Option<(u16, Vec<u16>)> {
        let words = |bytes: &[u8]| {
            bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
        };
        match (self.function, self.content.as_slice()) {
            (6, &[a, b, ref rest @ ..]) if rest.len() == 2 => {
                Some((u16::from_be_bytes([a, b]), words(rest)))
            }
            (16, &[a, b, c, d, bytes, ref rest @ ..]) => {
                let count = usize::from(u16::from_be_bytes([c, d]));
                let fits = count * 2 == rest.len() && usize::from(bytes) == rest.len();
                fits.then(|| (u16::from_be_bytes([a, b]), words(rest)))
            }
            _ => None,
        }
    }

    /// The frame that says that it was written.
    pub fn written(&self) -> Vec<u8> {
        let mut body = vec![self.unit, self.function];
        body.extend(self.content.iter().take(4));
        self.framed(&body)
    }

    /// The frame that answers it.
    pub fn frame(&self, answer: Result<Vec<u16>, Refusal>) -> Vec<u8> {
        let mut body = vec![self.unit];
        match answer {
            Ok(registers) => {
                let bytes: Vec<u8> = registers.iter().flat_map(|one| one.to_be_bytes()).collect();
                let count = u8::try_from(bytes.len()).expect("at most 125 registers");
                body.extend([self.function, count]);
                body.extend(bytes);
            }
            Err(Refusal(code)) => body.extend([self.function | 0x80, code]),
        }
        self.framed(&body)
    }

    fn framed(&self, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).expect("at most 253 bytes");
        let mut frame = self.number.to_vec();
        frame.extend([0, 0]);
        frame.extend(length.to_be_bytes());
        frame.extend(body);
        frame
    }
}
