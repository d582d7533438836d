//! SML telegrams, as smart meters in Germany send them through their optical port.
//!
//! Escape, version, messages, escape, fill, CRC-16/X.25 (a few meters send the same polynomial's
//! Kermit variant). Inside, every item says its kind and length; only the list of values is of
//! interest here. The meter's clock is not used: some send a wrong one.

use super::Unit;
use super::obis::Code;
use super::telegram::{Amount, Found, Telegram, TelegramFault, crc16};

const ESCAPE: [u8; 4] = [0x1b; 4];
const START: [u8; 8] = [0x1b, 0x1b, 0x1b, 0x1b, 1, 1, 1, 1];
/// CRC-16/X.25 and Kermit, mirrored.
const POLYNOMIAL: u16 = 0x8408;
/// Message body that answers a request for a list, which is what meters push.
const GET_LIST_RESPONSE: i128 = 0x0701;
/// Deepest nesting, and most items in a list.
const MAX_DEPTH: usize = 8;
const MAX_ITEMS: usize = 128;
/// Most messages in a telegram; three are usual.
const MAX_MESSAGES: usize = 16;

const MALFORMED: TelegramFault = TelegramFault::Malformed("an item that does not fit");

/// The first telegram in some bytes.
#[must_use]
pub fn find(bytes: &[u8]) -> Found {
    let Some(start) = bytes.windows(START.len()).position(|window| window == START) else {
        return Found::nothing(bytes.len().saturating_sub(START.len() - 1));
    };
    let mut at = start + START.len();
    let mut content = Vec::new();
    loop {
        let Some(group) = bytes.get(at..at + 4) else { return Found::nothing(start) };
        if group != ESCAPE {
            content.push(group[0]);
            at += 1;
            continue;
        }
        let Some(mark) = bytes.get(at + 4..at + 8) else { return Found::nothing(start) };
        match *mark {
            [0x1a, fill, high, low] => {
                let end = at + 8;
                let stated = u16::from_be_bytes([high, low]);
                let telegram = check(&bytes[start..end - 2], stated)
                    .and_then(|()| parse(content, usize::from(fill)));
                return Found { used: end, telegram: Some(telegram) };
            }
            // The escape itself is sent twice.
            [0x1b, 0x1b, 0x1b, 0x1b] => {
                content.extend(ESCAPE);
                at += 8;
            }
            // A telegram that broke off is followed by the next one's beginning.
            _ => {
                let fault = TelegramFault::Malformed("it broke off");
                return Found { used: at, telegram: Some(Err(fault)) };
            }
        }
    }
}

fn check(bytes: &[u8], stated: u16) -> Result<(), TelegramFault> {
    let x25 = (crc16(bytes, POLYNOMIAL, 0xffff) ^ 0xffff).swap_bytes();
    let kermit = crc16(bytes, POLYNOMIAL, 0).swap_bytes();
    if stated == x25 || stated == kermit {
        return Ok(());
    }
    Err(TelegramFault::Checksum { stated: format!("{stated:04x}"), computed: format!("{x25:04x}") })
}

/// The messages of a telegram, without escapes.
///
/// # Errors
/// [`TelegramFault`].
pub fn parse(mut content: Vec<u8>, fill: usize) -> Result<Telegram, TelegramFault> {
    let length = content.len().checked_sub(fill).filter(|_| fill <= 3);
    content.truncate(length.ok_or(MALFORMED)?);
    let mut telegram = Telegram::default();
    let mut rest = &content[..];
    for _ in 0..MAX_MESSAGES {
        // Fill between messages.
        while let [0, tail @ ..] = rest {
            rest = tail;
        }
        if rest.is_empty() {
            return Ok(telegram);
        }
        let message = item(&mut rest, 0)?;
        if let Item::List(parts) = &message
            && let Some(Item::List(body)) = parts.get(3)
            && let [Item::Number(GET_LIST_RESPONSE), Item::List(list)] = &body[..]
        {
            values(list, &mut telegram);
        }
    }
    Err(TelegramFault::Malformed("too many messages"))
}

/// Client, server, name, time, values, …
fn values(list: &[Item], telegram: &mut Telegram) {
    if let Some(Item::Octets(server)) = list.get(1)
        && (1..=32).contains(&server.len())
    {
        telegram.meter = Some(hex::encode(server));
    }
    let Some(Item::List(entries)) = list.get(4) else { return };
    for entry in entries {
        let Item::List(entry) = entry else { continue };
        // Name, status, time, unit, power of ten, value, signature.
        let [Item::Octets(name), _, _, unit, scaler, Item::Number(value), ..] = &entry[..] else {
            continue;
        };
        let Ok([a, b, c, d, e, _]) = <[u8; 6]>::try_from(&name[..]) else { continue };
        let exponent = match scaler {
            Item::Number(power) => i32::try_from(*power).unwrap_or(i32::MAX),
            _ => 0,
        };
        let unit = match unit {
            Item::Number(27) => Some(Unit::W),
            Item::Number(30) => Some(Unit::Wh),
            Item::Number(33) => Some(Unit::A),
            Item::Number(35) => Some(Unit::V),
            Item::Number(44) => Some(Unit::Hz),
            Item::Number(29) => Some(Unit::Var),
            _ => None,
        };
        let amount = Amount { mantissa: *value, exponent, unit };
        telegram.amounts.insert(Code::new([a, b, c, d, e]), amount);
    }
}

/// One item of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Octets(Vec<u8>),
    Number(i128),
    List(Vec<Item>),
}

/// Takes one item off the front.
fn item(rest: &mut &[u8], depth: usize) -> Result<Item, TelegramFault> {
    let first = byte(rest)?;
    // The end of a message stands where an item could.
    if first == 0 {
        return Ok(Item::Octets(Vec::new()));
    }
    let kind = first >> 4 & 7;
    let mut length = usize::from(first & 0xf);
    let mut head = 1;
    let mut more = first & 0x80 != 0;
    while more {
        let next = byte(rest)?;
        head += 1;
        if head > 3 {
            return Err(MALFORMED);
        }
        length = length << 4 | usize::from(next & 0xf);
        more = next & 0x80 != 0;
    }
    if kind == 7 {
        if depth == MAX_DEPTH || length > MAX_ITEMS {
            return Err(MALFORMED);
        }
        let items: Result<Vec<Item>, TelegramFault> =
            (0..length).map(|_| item(rest, depth + 1)).collect();
        return Ok(Item::List(items?));
    }
    // Other lengths count the head, too.
    let length = length.checked_sub(head).ok_or(MALFORMED)?;
    let (own, tail) = rest.split_at_checked(length).ok_or(MALFORMED)?;
    *rest = tail;
    match kind {
        0 => Ok(Item::Octets(own.to_vec())),
        4..=6 if (1..=8).contains(&length) => {
            let negative = kind == 5 && own[0] & 0x80 != 0;
            let start = if negative { -1 } else { 0 };
            Ok(Item::Number(own.iter().fold(start, |value, &b| value << 8 | i128::from(b))))
        }
        _ => Err(MALFORMED),
    }
}

fn byte(rest: &mut &[u8]) -> Result<u8, TelegramFault> {
    let (&first, tail) = rest.split_first().ok_or(MALFORMED)?;
    *rest = tail;
    Ok(first)
}
