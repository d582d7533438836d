//! A key as it is kept elsewhere: a page of text that can be printed, typed in again, and checked
//! line by line.
//!
//! The secret stands in four lines of eight bytes, each with a check of its own, so that a slip of the
//! finger is found in its line; a last line checks the whole, and the public half shows whose it is.
//! There is no passphrase: whoever has the page has the key. Checks are the first two (four) bytes of
//! Keccak-256.

use std::fmt::Write as _;

use protocol::{HouseholdKey, keccak256};

const TITLE: &str = "streetwatt household key, form 1";
const LINES: usize = 4;
const BYTES_PER_LINE: usize = 8;

/// Why a text is no copy of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// It does not begin as one.
    #[error("no copy of a household key: the first line is not {TITLE:?}")]
    Title,
    /// A line is missing or has another form.
    #[error("line {name:?} is missing, or is not of the form `{form}`")]
    Line {
        /// Its name.
        name: String,
        /// What it should look like.
        form: &'static str,
    },
    /// A line's check is wrong.
    #[error(
        "line {name:?} was copied wrongly: its last group should be {expected} for these digits"
    )]
    Check {
        /// Its name.
        name: String,
        /// The check of what stands there.
        expected: String,
    },
    /// The lines do not belong together.
    #[error("every line is right by itself, but they are not of one key: {what}")]
    Whole {
        /// What does not fit.
        what: String,
    },
}

fn check(what: &[u8], bytes: usize) -> String {
    hex::encode(&keccak256(what)[..bytes])
}

fn check_of_line(number: usize, bytes: &[u8]) -> String {
    check(&[TITLE.as_bytes(), &[u8::try_from(number).expect("four")], bytes].concat(), 2)
}

fn check_of_all(secret: &[u8]) -> String {
    check(&[TITLE.as_bytes(), secret].concat(), 4)
}

/// The page of a key.
#[must_use]
pub fn page(secret: &[u8; 32]) -> String {
    let public = HouseholdKey::from_bytes(secret).public_hex();
    let mut page = format!("{TITLE}\npublic  {public}\n");
    for (number, bytes) in secret.chunks(BYTES_PER_LINE).enumerate() {
        let groups: Vec<String> = bytes.chunks(2).map(hex::encode).collect();
        let check = check_of_line(number + 1, bytes);
        writeln!(page, "secret{}  {}  {check}", number + 1, groups.join(" "))
            .expect("a text takes all");
    }
    writeln!(page, "check  {}", check_of_all(secret)).expect("a text takes all");
    page
}

/// The secret of a page; white space and capitals are as anybody likes.
///
/// # Errors
/// [`CopyError`] names the line.
pub fn parse(text: &str) -> Result<[u8; 32], CopyError> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    if lines.next().is_none_or(|first| !first.eq_ignore_ascii_case(TITLE)) {
        return Err(CopyError::Title);
    }
    let lines: Vec<String> = lines.take(16).map(str::to_ascii_lowercase).collect();
    let digits = |name: &str| -> Option<String> {
        let line = lines.iter().find_map(|line| line.strip_prefix(name))?;
        line.starts_with(char::is_whitespace).then(|| line.split_whitespace().collect())
    };
    let missing = |name: &str, form| CopyError::Line { name: name.to_owned(), form };
    let mut secret = Vec::with_capacity(32);
    for number in 1..=LINES {
        let name = format!("secret{number}");
        let form = "secretN  xxxx xxxx xxxx xxxx  xxxx";
        let line = digits(&name).filter(|line| line.len() == 2 * BYTES_PER_LINE + 4);
        let line = line.ok_or_else(|| missing(&name, form))?;
        let (bytes, found) = line.split_at_checked(2 * BYTES_PER_LINE).unwrap_or_default();
        let bytes = hex::decode(bytes).map_err(|_| missing(&name, form))?;
        let expected = check_of_line(number, &bytes);
        if found != expected {
            return Err(CopyError::Check { name, expected });
        }
        secret.extend(bytes);
    }
    let secret: [u8; 32] = secret.try_into().expect("four lines of eight bytes");
    let check = digits("check").ok_or_else(|| missing("check", "check  xxxxxxxx"))?;
    let public = digits("public").ok_or_else(|| missing("public", "public  64 digits"))?;
    let whole = |what: &str| CopyError::Whole { what: what.to_owned() };
    if check != check_of_all(&secret) {
        return Err(whole("the last check is of another key"));
    }
    if public != HouseholdKey::from_bytes(&secret).public_hex() {
        return Err(whole("the public half is of another key"));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_stays_as_it_is() {
        let secret: [u8; 32] = std::array::from_fn(|at| u8::try_from(at * 7).expect("small"));
        let page = page(&secret);
        assert_eq!(parse(&page), Ok(secret));
        assert_eq!(page.lines().count(), 7);
        assert_eq!(
            page.lines().nth(2).map(|line| &line[..27]),
            Some("secret1  0007 0e15 1c23 2a3")
        );
        let shouted = page.to_uppercase().replace("  ", " \t ");
        assert_eq!(parse(&shouted), Ok(secret), "however it was typed in");
    }

    #[test]
    fn lines_of_another_key_are_noticed() {
        let (one, other) = (page(&[1; 32]), page(&[2; 32]));
        let mix = |from: usize| -> String {
            let lines = one.lines().zip(other.lines()).enumerate();
            lines.map(|(at, (a, b))| format!("{}\n", if at == from { b } else { a })).collect()
        };
        for line in 1..7 {
            assert!(matches!(parse(&mix(line)), Err(CopyError::Whole { .. })), "line {line}");
        }
        assert_eq!(parse("hello"), Err(CopyError::Title));
    }

    proptest::proptest! {
        /// Any single digit that is mistyped is found, and for a secret line its line is named.
        #[test]
        fn a_mistyped_digit_is_found(secret: [u8; 32], at in 0..400_usize, digit in 0..16_u32) {
            let page = page(&secret);
            let start = page.find("public").expect("there");
            let places: Vec<usize> = page.char_indices().skip(start)
                .filter(|(_, c)| c.is_ascii_hexdigit()).map(|(place, _)| place).collect();
            let place = places[at % places.len()];
            let digit = char::from_digit(digit, 16).expect("hexadecimal");
            let mut typed = page.clone();
            typed.replace_range(place..=place, &digit.to_string());
            proptest::prop_assume!(typed != page);
            proptest::prop_assert!(parse(&typed).is_err(), "{typed}");
        }
    }
}
