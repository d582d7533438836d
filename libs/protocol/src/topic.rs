//! Topics: `streetwatt/<community>/<point>/up|down/<kind>` and `streetwatt/<community>/public/<kind>`.

use std::fmt;

use units::{CommunityId, PointId};

/// Kinds of message that a household sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Up {
    /// [`crate::Reading`]
    Reading,
    /// [`crate::Order`]
    Order,
    /// [`crate::Live`]
    Live,
    /// [`crate::Ask`]
    Ask,
    /// [`crate::Audit`]
    Audit,
    /// [`crate::SignedKeyChange`]
    KeyChange,
    /// [`crate::KeyRevocation`]
    KeyRevocation,
}

/// Kinds of message that the operator sends to one household.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Down {
    /// [`crate::Receipt`]
    Receipt,
    /// [`crate::Verdict`]
    Verdict,
    /// [`crate::Fill`]
    Fill,
    /// [`crate::Delivery`]
    Statement,
    /// [`crate::Refusal`]
    Refusal,
    /// [`crate::KeyRecord`]
    KeyRecord,
}

/// Kinds of message that the operator sends to all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Public {
    /// [`crate::Offer`]
    Offer,
    /// [`crate::Clearing`]
    Clearing,
}

impl Up {
    /// Every kind, in the order of their importance.
    pub const ALL: [Self; 7] = [
        Self::KeyChange,
        Self::KeyRevocation,
        Self::Reading,
        Self::Order,
        Self::Ask,
        Self::Audit,
        Self::Live,
    ];

    /// The last part of the topic.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Order => "order",
            Self::Live => "live",
            Self::Ask => "ask",
            Self::Audit => "audit",
            Self::KeyChange => "key-change",
            Self::KeyRevocation => "key-revocation",
        }
    }
}

impl Down {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Receipt, Self::Verdict, Self::Fill, Self::Statement, Self::Refusal, Self::KeyRecord];

    /// The last part of the topic.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Receipt => "receipt",
            Self::Verdict => "verdict",
            Self::Fill => "fill",
            Self::Statement => "statement",
            Self::Refusal => "refusal",
            Self::KeyRecord => "key-record",
        }
    }
}

impl Public {
    const ALL: [Self; 2] = [Self::Offer, Self::Clearing];

    /// The last part of the topic.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Clearing => "clearing",
        }
    }
}

/// Where a message is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topic {
    /// From a household to the operator.
    Up(PointId, Up),
    /// From the operator to a household.
    Down(PointId, Down),
    /// From the operator to all.
    Public(Public),
}

impl Topic {
    /// The topic's name in a community.
    #[must_use]
    pub fn name(&self, community: &CommunityId) -> String {
        match self {
            Self::Up(point, kind) => format!("streetwatt/{community}/{point}/up/{}", kind.as_str()),
            Self::Down(point, kind) => {
                format!("streetwatt/{community}/{point}/down/{}", kind.as_str())
            }
            Self::Public(kind) => format!("streetwatt/{community}/public/{}", kind.as_str()),
        }
    }

    /// Reads a topic's name; `None` when it is not one of this community's topics.
    #[must_use]
    pub fn parse(community: &CommunityId, name: &str) -> Option<Self> {
        let rest = name.strip_prefix("streetwatt/")?.strip_prefix(community.as_str())?;
        let mut parts = rest.strip_prefix('/')?.split('/');
        let (first, second, third) = (parts.next()?, parts.next()?, parts.next());
        if parts.next().is_some() {
            return None;
        }
        match (first, second, third) {
            ("public", kind, None) => {
                Public::ALL.into_iter().find(|k| k.as_str() == kind).map(Self::Public)
            }
            (point, "up", Some(kind)) => {
                let kind = Up::ALL.into_iter().find(|k| k.as_str() == kind)?;
                Some(Self::Up(PointId::new(point).ok()?, kind))
            }
            (point, "down", Some(kind)) => {
                let kind = Down::ALL.into_iter().find(|k| k.as_str() == kind)?;
                Some(Self::Down(PointId::new(point).ok()?, kind))
            }
            _ => None,
        }
    }
}

/// The filter under which the operator hears all households of a community.
#[must_use]
pub fn wildcard_up(community: &CommunityId) -> String {
    format!("streetwatt/{community}/+/up/+")
}

impl fmt::Display for Up {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
