//! Taking out of a trace what tells whose house it is: serial numbers, addresses, topics.

/// What stands for a byte that was taken out.
const TAKEN: u8 = b'x';
/// Shorter numbers are in too many other places to be taken out of bytes.
const SHORTEST: usize = 4;
/// Keys of JSON whose values are names, numbers or places.
const PRIVATE_KEYS: [&str; 16] = [
    "mac",
    "id",
    "ip",
    "ssid",
    "bssid",
    "serial",
    "sn",
    "unique_id",
    "src",
    "dst",
    "client_id",
    "equipment_id",
    "meter_id",
    "hostname",
    "lat",
    "lon",
];

/// What must not be in a trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// Texts, each with what stands in its place; the longest first.
    texts: Vec<(String, String)>,
    /// Bytes, as they may come over a line.
    bytes: Vec<Vec<u8>>,
}

impl Secrets {
    /// A text with what shall stand for it, in texts and in bytes.
    pub fn add(&mut self, text: &str, instead: &str) {
        let text = text.trim();
        if text.len() < 3 || self.texts.iter().any(|(known, _)| known == text) {
            return;
        }
        self.texts.push((text.to_owned(), instead.to_owned()));
        self.texts.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        if text.len() >= SHORTEST {
            self.bytes.push(text.as_bytes().to_vec());
            // P1 telegrams have the meter's number as the hexadecimal digits of its characters.
            self.bytes.push(hex::encode(text).into_bytes());
            self.bytes.push(hex::encode_upper(text).into_bytes());
        }
        if let Some(raw) = hex::decode(text).ok().filter(|raw| raw.len() >= SHORTEST) {
            self.bytes.push(raw);
        }
        if let Ok(number) = text.parse::<u32>() {
            let [a, b, c, d] = number.to_be_bytes();
            // In either order of registers.
            self.bytes.extend([vec![a, b, c, d], vec![c, d, a, b]]);
        }
    }

    /// Bytes in which every secret is replaced by `x`, byte for byte.
    #[must_use]
    pub fn bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut clean = bytes.to_vec();
        for secret in &self.bytes {
            let mut at = 0;
            while at + secret.len() <= clean.len() {
                if clean[at..].starts_with(secret) {
                    clean[at..at + secret.len()].fill(TAKEN);
                    at += secret.len();
                } else {
                    at += 1;
                }
            }
        }
        clean
    }

    /// A text in which every secret is replaced, and whatever looks like a hardware or network address.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        let text = match serde_json::from_str::<serde_json::Value>(text) {
            Ok(mut value @ (serde_json::Value::Object(_) | serde_json::Value::Array(_))) => {
                take_private(&mut value, 0);
                value.to_string()
            }
            _ => text.to_owned(),
        };
        let known = self
            .texts
            .iter()
            .fold(text, |text, (secret, instead)| text.replace(secret.as_str(), instead));
        without_addresses(&known)
    }
}

/// Takes out the values of private keys, as deep as messages go.
fn take_private(value: &mut serde_json::Value, depth: usize) {
    if depth > 16 {
        *value = serde_json::Value::Null;
        return;
    }
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                let is_private = PRIVATE_KEYS.contains(&key.to_ascii_lowercase().as_str());
                // A small number is a channel; a long one, or a text, may be a name.
                let tells = match &*value {
                    serde_json::Value::Number(number) => {
                        number.as_i64().is_none_or(|number| number.unsigned_abs() > 99)
                    }
                    serde_json::Value::String(_) => true,
                    _ => false,
                };
                if is_private && tells {
                    *value = "x".into();
                } else {
                    take_private(value, depth + 1);
                }
            }
        }
        serde_json::Value::Array(list) => {
            list.iter_mut().for_each(|value| take_private(value, depth + 1));
        }
        _ => {}
    }
}

/// Replaces words like `192.0.2.7`, `0123456789ab` and `01:23:45:67:89:ab`.
fn without_addresses(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_hexdigit() || c == ':' || c == '.';
    let mut clean = String::with_capacity(text.len());
    let mut word = String::new();
    for c in text.chars().chain([' ']) {
        if is_part(c) {
            word.push(c);
            continue;
        }
        let bare = word.trim_end_matches(['.', ':']);
        if is_address(bare) {
            clean.push_str("ADDRESS");
            clean.push_str(&word[bare.len()..]);
        } else {
            clean.push_str(&word);
        }
        word.clear();
        clean.push(c);
    }
    clean.pop();
    clean
}

fn is_address(word: &str) -> bool {
    let is_v4 =
        word.split('.').count() == 4 && word.split('.').all(|part| part.parse::<u8>().is_ok());
    let bare: String = word.chars().filter(|&c| c != ':').collect();
    let letters = bare.chars().any(|c| c.is_ascii_alphabetic());
    let is_mac = bare.len() == 12 && !bare.contains('.') && (letters || word.contains(':'));
    is_v4 || is_mac || word.matches(':').count() >= 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_taken_out() {
        let mut secrets = Secrets::default();
        secrets.add("shellypro3em-0123456789ab", "TOPIC-1");
        secrets.add("17786037", "SERIAL-1");
        for (text, clean) in [
            ("shellypro3em-0123456789ab/status/em:0", "TOPIC-1/status/em:0"),
            ("{\"act\":1.5,\"id\":0,\"mac\":\"AABBCC\"}", "{\"act\":1.5,\"id\":0,\"mac\":\"x\"}"),
            ("from 192.0.2.77 by a1b2c3d4e5f6.", "from ADDRESS by ADDRESS."),
            ("no 17786037 but 1234.5 W at 12:30:05", "no SERIAL-1 but 1234.5 W at 12:30:05"),
            ("[{\"n\":[1],\"sn\":\"Z9\"}]", "[{\"n\":[1],\"sn\":\"x\"}]"),
            ("", ""),
        ] {
            assert_eq!(secrets.text(text), clean);
        }
        let number = 17_786_037_u32.to_be_bytes();
        let frame = [&[1, 3, 4][..], &number, b"17786037", &[9]].concat();
        assert_eq!(secrets.bytes(&frame), [&[1, 3, 4][..], &[TAKEN; 12], &[9]].concat());
        assert_eq!(secrets.bytes(&[]), Vec::<u8>::new());
    }

    proptest::proptest! {
        /// Whatever surrounds a secret, none of it stays.
        #[test]
        fn no_secret_stays(before in "\\PC{0,20}", secret in "[A-Z]{2}[0-9]{8}", after in "\\PC{0,20}") {
            let mut secrets = Secrets::default();
            secrets.add(&secret, "SERIAL-1");
            let text = format!("{before}{secret}{after}");
            proptest::prop_assert!(!secrets.text(&text).contains(&secret));
            let bytes = secrets.bytes(text.as_bytes());
            let stays = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            proptest::prop_assert!(!stays);
        }
    }
}
