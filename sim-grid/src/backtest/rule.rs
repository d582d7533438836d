//! The rules by which a street may share its energy, as a person names them.

use std::fmt;
use std::str::FromStr;

/// What members pay each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Everybody is alone with the supplier.
    None,
    /// The double auction and its two-step settlement, as the live street runs it.
    Auction,
    /// The double auction; whatever it does not match is the supplier's.
    AuctionStrict,
    /// Pooled energy at the middle of retail and feed-in.
    Mmr,
    /// One price that falls from retail to feed-in as supply grows to demand.
    Sdr,
    /// The street's bill of every quarter-hour shared by energy.
    BillSharing,
    /// The street's bill of the whole time shared by energy.
    BillSharingPeriod,
    /// Shared energy allocated in proportion to use, at the middle of retail and feed-in.
    ProRata,
    /// Shared energy allocated by equal fixed parts, at the middle of retail and feed-in.
    StaticKeys,
    /// Shared energy allocated by the key that the community wrote down.
    OwnKey,
}

impl Rule {
    /// All rules that need nothing written down, in the order in which reports list them.
    pub const ALL: [Self; 9] = [
        Self::None,
        Self::Auction,
        Self::AuctionStrict,
        Self::Mmr,
        Self::Sdr,
        Self::BillSharing,
        Self::BillSharingPeriod,
        Self::ProRata,
        Self::StaticKeys,
    ];

    /// As it is typed and as reports name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Auction => "auction",
            Self::AuctionStrict => "auction_strict",
            Self::Mmr => "mmr",
            Self::Sdr => "sdr",
            Self::BillSharing => "bill_sharing",
            Self::BillSharingPeriod => "bill_sharing_period",
            Self::ProRata => "pro_rata",
            Self::StaticKeys => "static_keys",
            Self::OwnKey => "own_key",
        }
    }

    /// As a heading.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::None => "No sharing",
            Self::Auction => "Auction",
            Self::AuctionStrict => "Auction, strict",
            Self::Mmr => "Mid-market rate",
            Self::Sdr => "Supply-demand ratio",
            Self::BillSharing => "Bill sharing",
            Self::BillSharingPeriod => "Bill sharing, whole time",
            Self::ProRata => "Dynamic key, pro rata",
            Self::StaticKeys => "Static key, equal parts",
            Self::OwnKey => "Own key",
        }
    }

    /// What it means, in a sentence for members.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::None => "Everybody buys from and sells to the supplier alone.",
            Self::Auction => {
                "Everybody names a price; one price per quarter-hour makes the best match. \
                 Unplanned energy is matched between neighbours at that price, too."
            }
            Self::AuctionStrict => {
                "Everybody names a price; what the auction does not match is the supplier's."
            }
            Self::Mmr => "Shared energy costs the middle between the supplier's two prices.",
            Self::Sdr => {
                "One price for all: near retail while sun is scarce, near feed-in when plentiful."
            }
            Self::BillSharing => {
                "The street's bill of each quarter-hour is split by use; energy inside is free."
            }
            Self::BillSharingPeriod => {
                "The street's bill of the whole time is split by use; energy inside is free."
            }
            Self::ProRata => {
                "The grid operator allocates shared energy by use; it costs the middle price."
            }
            Self::StaticKeys => {
                "The grid operator allocates the same part of all surplus to everybody; what a \
                 member cannot use of its part goes to the supplier. It costs the middle price."
            }
            Self::OwnKey => "The grid operator allocates shared energy by the community's own key.",
        }
    }

    /// Whether members place orders.
    #[must_use]
    pub const fn takes_orders(self) -> bool {
        matches!(self, Self::Auction | Self::AuctionStrict)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = || Self::ALL.into_iter().chain([Self::OwnKey]);
        all().find(|rule| rule.name() == text).ok_or_else(|| {
            let names: Vec<&str> = all().map(Self::name).collect();
            format!("there is no rule {text:?}; choose from {}", names.join(", "))
        })
    }
}
