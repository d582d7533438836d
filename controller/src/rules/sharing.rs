//! What members pay each other and whose energy was whose in law: the community's rule and key,
//! applied to one slot.
//!
//! Desk and auditor hold the same rule and key: their digest stands in every clearing and header, so
//! that neither can be changed afterwards. They change between slots, when the community decides so;
//! each slot keeps those that its clearing names.

use std::collections::{BTreeMap, BTreeSet};

use market::sharing::{
    Allocation, Key, KeyFault, Overlay, Per, Rule, Shares, Sharing, SharingFault, Street, allocate,
    overlay, rates, share, trades,
};
use market::{Balances, Clearing, LedgerFault, Metered, Reason, Settlement, Terms, Transfer};
use protocol::{B256, Header, LegalLine, SharingLine, keccak256};
use units::{Energy, Money, PointId, Price};

use super::{SettlingFault, rank};

/// How the members of a street share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreetSharing {
    form: Sharing,
    digest: B256,
}

/// What stands before the rule where a clearing says how its result came about.
const NO_AUCTION: &str = "no auction: ";

/// What a Wh costs and earns among members by a rule without an auction, rounded for display: bills
/// are exact shares of exact sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberPrices {
    /// For what a member takes from the street, the supplier's part of it included.
    pub buy: Price,
    /// For what a member gives to the street.
    pub sell: Price,
}

impl MemberPrices {
    /// The prices of a settled slot; none with an auction and where everybody is alone. `method` is how
    /// the slot was cleared.
    #[must_use]
    pub fn of(method: &str, header: &Header) -> Option<Self> {
        let rule: Rule = method.strip_prefix(NO_AUCTION)?.parse().ok()?;
        let price = Price::from_nano_per_wh;
        let terms = Terms::new(price(header.retail), price(header.feed_in)).ok()?;
        if let Rule::Allocated { price } = rule {
            let inside = price.price(terms);
            return Some(Self { buy: inside, sell: inside });
        }
        if rule == Rule::None {
            return None;
        }
        let wh = Energy::from_wh;
        let street = Street { import: wh(header.short_wh), export: wh(header.long_wh) };
        let rates = rates(rule, terms, street).ok()??;
        let whole = |rate: market::sharing::Ratio| Some(price(rate.times(1)?.try_into().ok()?));
        Some(Self { buy: whole(rates.buy)?, sell: whole(rates.sell)? })
    }
}

/// Why a street cannot share so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreetSharingFault {
    /// Rule, key and members do not fit together.
    #[error("{0}")]
    Key(#[from] KeyFault),
    /// Bills that are known at a period's end cannot be settled slot by slot.
    #[error(
        "the rule \"bill-sharing per period\" is known when the period is over, and a street settles \
         every quarter-hour: choose {{ bill-sharing = {{ per = \"interval\" }} }}, or look at it in \
         `sim-grid backtest --rule bill_sharing_period`"
    )]
    PerPeriod,
    /// The text is no rule and key.
    #[error("it cannot be read: {0}")]
    Text(String),
}

impl StreetSharing {
    /// The rule and key of a form, which name members only.
    ///
    /// # Errors
    /// [`StreetSharingFault`].
    pub fn new(form: Sharing, members: &BTreeSet<PointId>) -> Result<Self, StreetSharingFault> {
        form.check(members)?;
        Self::unchecked(form)
    }

    /// The rule and key of a form's JSON, whoever its members were.
    ///
    /// # Errors
    /// [`StreetSharingFault`].
    pub fn parse(text: &str) -> Result<Self, StreetSharingFault> {
        let form = serde_json::from_str(text);
        Self::unchecked(form.map_err(|error| StreetSharingFault::Text(error.to_string()))?)
    }

    fn unchecked(form: Sharing) -> Result<Self, StreetSharingFault> {
        if form.rule == (Rule::BillSharing { per: Per::Period }) {
            return Err(StreetSharingFault::PerPeriod);
        }
        let is_plain = form == Sharing::default();
        let mut sharing = Self { form, digest: B256::ZERO };
        if !is_plain {
            sharing.digest = keccak256(sharing.text());
        }
        Ok(sharing)
    }

    /// As the community wrote it down.
    #[must_use]
    pub const fn form(&self) -> &Sharing {
        &self.form
    }

    /// How a clearing without orders came about; none where there is an auction.
    #[must_use]
    pub fn method(&self) -> Option<String> {
        (!self.takes_orders()).then(|| format!("{NO_AUCTION}{}", self.form.rule))
    }

    /// Its JSON, whose Keccak-256 the digest is.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string(&self.form).expect("a rule and a key are plain data")
    }

    /// Commits to rule and key; zero for the auction alone.
    #[must_use]
    pub const fn digest(&self) -> B256 {
        self.digest
    }

    /// Whether members place orders.
    #[must_use]
    pub const fn takes_orders(&self) -> bool {
        self.form.rule.takes_orders()
    }

    /// Shares a slot: by the rule, and on top of the legal allocation.
    ///
    /// # Errors
    /// [`SettlingFault`]; nothing may be booked then.
    pub(super) fn apply(
        &self,
        (clearing, seed): (&Clearing, B256),
        settlement: &Settlement,
        auction: Vec<Transfer>,
        metered: &[Metered],
    ) -> Result<Shared, SettlingFault> {
        let (slot, terms) = (clearing.slot, settlement.basis.terms);
        let Sharing { rule, key } = &self.form;
        let trades = trades(clearing, |point| rank(seed, point.as_str().as_bytes()));
        let allocation = match key {
            Key::None => None,
            key => Some(allocate(key, slot, metered, &trades)?),
        };
        let shares = match rule {
            Rule::Auction => None,
            rule => Some(share(*rule, slot, terms, metered, allocation.as_ref())?),
        };
        let mut transfers = match &shares {
            None => auction,
            Some(shares) => {
                let is_late = |entry: &Transfer| matches!(entry.reason, Reason::Late(_));
                let late = auction.into_iter().filter(is_late);
                shares.transfers().into_iter().chain(late).collect()
            }
        };
        let overlay = match &allocation {
            None => None,
            Some(allocation) => Some(overlay(terms, allocation, &transfers)?),
        };
        if let Some(overlay) = &overlay {
            transfers = overlay.transfers();
        }
        let balances = Balances::of(&transfers)?;
        prove(&balances)?;
        let lines = self.lines(settlement, shares.as_ref(), allocation.as_ref(), overlay.as_ref());
        Ok(Shared { transfers, balances, allocation, lines })
    }

    /// What each household is told, by metering point; nothing where the auction says all.
    fn lines(
        &self,
        settlement: &Settlement,
        shares: Option<&Shares>,
        allocation: Option<&Allocation>,
        overlay: Option<&Overlay>,
    ) -> BTreeMap<PointId, SharingLine> {
        if self.digest.is_zero() {
            return BTreeMap::new();
        }
        let legal = |point: &PointId| {
            let line = allocation?.of(point)?;
            let lines = &overlay?.lines;
            let at = lines.binary_search_by(|line| line.point.cmp(point)).ok()?;
            Some(LegalLine {
                taken_wh: line.taken.wh(),
                given_wh: line.given.wh(),
                residual: lines[at].residual.nano(),
                shortfall: lines[at].shortfall.nano(),
                difference: lines[at].difference.nano(),
            })
        };
        let line = |bill: &market::Bill| {
            let market::Charges { import, export, .. } = &bill.charges;
            let (pays, gets) = match shares {
                None => (import.trade + import.balancing, -(export.trade + export.balancing)),
                // Without a reading nothing is shared yet.
                Some(shares) => shares
                    .of(&bill.point)
                    .map_or((Money::ZERO, Money::ZERO), |share| (share.pays, share.gets)),
            };
            let line = SharingLine {
                rule: self.form.rule.to_string(),
                key: self.form.key.name().to_owned(),
                pays: pays.nano(),
                gets: gets.nano(),
                legal: legal(&bill.point).into_iter().collect(),
            };
            (bill.point.clone(), line)
        };
        settlement.bills.iter().map(line).collect()
    }
}

/// A slot as it is shared.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The ledger entries, pool empty after them.
    pub transfers: Vec<Transfer>,
    /// What they leave on every account.
    pub balances: Balances,
    /// Whose energy was whose in law; none without a key.
    pub allocation: Option<Allocation>,
    /// What each household is told; nothing where the auction says all.
    pub lines: BTreeMap<PointId, SharingLine>,
}

/// The pool is empty after a slot.
fn prove(balances: &Balances) -> Result<(), SettlingFault> {
    let (account, expected) = (market::Account::Pool, Money::ZERO);
    let balance = balances.of_account(&account);
    if balance == expected {
        Ok(())
    } else {
        Err(LedgerFault::WrongBalance { account, balance, expected }.into())
    }
}

impl From<SharingFault> for SettlingFault {
    fn from(fault: SharingFault) -> Self {
        Self::Sharing(Box::new(fault))
    }
}
