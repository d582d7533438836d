//! The journal's records on disk: length, check sum, JSON.

/// Bytes before a record's content: length and CRC-32, both little-endian.
pub const FRAME_BYTES: usize = 8;
/// Longest content.
pub const MAX_CONTENT_BYTES: usize = 64 * 1024;

/// What stands at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A whole record: its content, and the bytes it takes.
    Whole(&'a [u8], usize),
    /// The end.
    Nothing,
    /// Less than a record, or one that is damaged.
    Broken,
}

/// A record around `content`.
///
/// # Panics
/// When the content is longer than [`MAX_CONTENT_BYTES`]; messages are bounded far below.
#[must_use]
pub fn frame(content: &[u8]) -> Vec<u8> {
    assert!(content.len() <= MAX_CONTENT_BYTES, "journal records are bounded");
    let length = u32::try_from(content.len()).expect("bounded");
    let mut bytes = Vec::with_capacity(FRAME_BYTES + content.len());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&crc32(content).to_le_bytes());
    bytes.extend_from_slice(content);
    bytes
}

/// Looks at the start of `bytes`.
#[must_use]
pub fn read(bytes: &[u8]) -> Found<'_> {
    if bytes.is_empty() {
        return Found::Nothing;
    }
    let Some((head, rest)) = bytes.split_at_checked(FRAME_BYTES) else {
        return Found::Broken;
    };
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let length = usize::try_from(word(0)).unwrap_or(usize::MAX);
    if length == 0 || length > MAX_CONTENT_BYTES {
        return Found::Broken;
    }
    match rest.get(..length) {
        Some(content) if crc32(content) == word(4) => Found::Whole(content, FRAME_BYTES + length),
        _ => Found::Broken,
    }
}

/// CRC-32 as in IEEE 802.3 (reflected polynomial 0xEDB88320).
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        let index = usize::from(crc.to_le_bytes()[0] ^ byte);
        crc = (crc >> 8) ^ TABLE[index];
    }
    !crc
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0_u32;
    while byte < 256 {
        let mut value = byte;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0xedb8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[byte as usize] = value;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_sum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn a_record_is_whole_or_broken_at_every_cut_and_flip() {
        let record = frame(b"a reading");
        assert_eq!(read(&record), Found::Whole(b"a reading", record.len()));
        assert_eq!(read(&[]), Found::Nothing);
        for cut in 1..record.len() {
            assert!(read(&record[..cut]) == Found::Broken, "cut at {cut}");
        }
        for bit in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&flipped) == Found::Broken, "bit {bit}");
        }
    }
}
