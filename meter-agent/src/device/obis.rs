//! OBIS codes, the names of a meter's figures in P1 and SML telegrams.

use std::fmt;
use std::str::FromStr;

/// `A-B:C.D.E`, as in `1-0:1.8.0`; the sixth group tells billing periods and is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Code([u8; 5]);

impl Code {
    /// A code from its groups.
    #[must_use]
    pub const fn new(groups: [u8; 5]) -> Self {
        Self(groups)
    }
}

/// The text is no code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no OBIS code such as 1-0:1.8.0")]
pub struct NoCode(String);

impl FromStr for Code {
    type Err = NoCode;

    fn from_str(text: &str) -> Result<Self, NoCode> {
        let parse = || {
            let (medium, rest) = text.split_once('-')?;
            let (channel, rest) = rest.split_once(':')?;
            let mut groups = rest.split('.');
            let mut group = || groups.next()?.parse::<u8>().ok();
            let code = [medium.parse().ok()?, channel.parse().ok()?, group()?, group()?, group()?];
            groups.next().is_none().then_some(Self(code))
        };
        parse().ok_or_else(|| NoCode(text.to_owned()))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e] = self.0;
        write!(f, "{a}-{b}:{c}.{d}.{e}")
    }
}
