//! Double entry: money moves only as a transfer between two accounts, and nothing is ever undone.
//!
//! A transfer takes `amount > 0` from the account it debits and gives it to the account it
//! credits; an account's balance is its credits minus its debits. All accounts together are zero
//! at all times, and the pool, through which neighbours trade, is zero after every slot.

use std::collections::BTreeMap;
use std::fmt;

use units::{InvalidId, Money, PointId, Slot};

use crate::{Settlement, SettlementFault};

/// Who can owe or own money.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
pub enum Account {
    /// A metering point's account.
    Household(PointId),
    /// Where purchases come in and sales are paid from; empty between slots.
    Pool,
    /// The supplier of everything that neighbours do not trade.
    Supplier,
    /// The fees that members pay for using the street's network.
    GridFees,
    /// What is paid more because a cable is full, for the members to decide about.
    Congestion,
}

const HOUSEHOLD_PREFIX: &str = "household:";

impl fmt::Display for Account {
    /// `household:<point>`, `pool`, `supplier`, `grid-fees` or `congestion`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Household(point) => write!(f, "{HOUSEHOLD_PREFIX}{point}"),
            Self::Pool => f.pad("pool"),
            Self::Supplier => f.pad("supplier"),
            Self::GridFees => f.pad("grid-fees"),
            Self::Congestion => f.pad("congestion"),
        }
    }
}

/// Why a text is no account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAccount {
    /// None of the forms.
    #[error("{0:?} is no account: use household:<point>, pool, supplier, grid-fees or congestion")]
    Form(String),
    /// The point is no identifier.
    #[error(transparent)]
    Point(#[from] InvalidId),
}

impl std::str::FromStr for Account {
    type Err = InvalidAccount;

    fn from_str(text: &str) -> Result<Self, InvalidAccount> {
        match text {
            "pool" => Ok(Self::Pool),
            "supplier" => Ok(Self::Supplier),
            "grid-fees" => Ok(Self::GridFees),
            "congestion" => Ok(Self::Congestion),
            _ => match text.strip_prefix(HOUSEHOLD_PREFIX) {
                Some(point) => Ok(Self::Household(PointId::new(point)?)),
                None => Err(InvalidAccount::Form(text.to_owned())),
            },
        }
    }
}

impl TryFrom<String> for Account {
    type Error = InvalidAccount;

    fn try_from(text: String) -> Result<Self, InvalidAccount> {
        text.parse()
    }
}

impl From<Account> for String {
    fn from(account: Account) -> Self {
        account.to_string()
    }
}

/// What a transfer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Reason {
    /// Energy bought in the auction.
    Purchase,
    /// Energy sold in the auction.
    Sale,
    /// Import beyond or below what was bought.
    ImportDeviation,
    /// Export below or beyond what was sold.
    ExportDeviation,
    /// What the supplier delivers to the street.
    Retail,
    /// What the supplier takes from the street.
    FeedIn,
    /// Energy of an earlier slot, with the supplier directly.
    Late(Slot),
    /// The network's fees on what neighbours traded.
    GridFees,
    /// The rent of full branches.
    Congestion,
    /// What the legal allocation leaves to the supplier.
    Residual,
    /// The market's result less what the supplier bills under the legal allocation.
    Difference,
    /// What the legal allocation costs the market.
    Shortfall,
    /// A slot settled again with corrected meters.
    Correction {
        /// The corrected slot.
        slot: Slot,
        /// The new version of its settlement.
        version: u32,
    },
}

/// One movement of money.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Transfer {
    /// The slot whose settlement moves the money.
    pub slot: Slot,
    /// The account that pays.
    pub debit: Account,
    /// The account that gets.
    pub credit: Account,
    /// How much, > 0.
    pub amount: Money,
    /// What for.
    pub reason: Reason,
}

impl Transfer {
    /// The transfer that takes `amount` from one account to another: the other way round when it
    /// is negative, and none when it is nothing.
    pub(crate) fn of(
        slot: Slot,
        from: &Account,
        to: &Account,
        amount: Money,
        reason: Reason,
    ) -> Option<Self> {
        let (debit, credit) = if amount.is_positive() { (from, to) } else { (to, from) };
        let (debit, credit, amount) = (debit.clone(), credit.clone(), amount.abs());
        (!amount.is_zero()).then_some(Self { slot, debit, credit, amount, reason })
    }
}

/// Why money does not move.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerFault {
    /// The settlement is wrong.
    #[error("settlement not posted: {0}")]
    Settlement(#[from] SettlementFault),
    /// A transfer must move something.
    #[error("transfer of {amount} from {debit} to {credit} is not positive")]
    NotPositive {
        /// The paying account.
        debit: Account,
        /// The receiving account.
        credit: Account,
        /// The amount.
        amount: Money,
    },
    /// A transfer must go somewhere.
    #[error("transfer from {account} to itself")]
    SameAccount {
        /// The account.
        account: Account,
    },
    /// A balance leaves the range of money.
    #[error("balance of {account} is out of range")]
    OutOfRange {
        /// The account.
        account: Account,
    },
    /// The slot leaves an account with another balance than the settlement says.
    #[error("{account} moves by {balance}, but its settlement says {expected}")]
    WrongBalance {
        /// The account.
        account: Account,
        /// By the transfers.
        balance: Money,
        /// By the settlement.
        expected: Money,
    },
}

/// Writes a settlement as transfers: at most four per bill, one per late line and two with
/// the supplier.
///
/// The settlement is checked before, and the balances after: the pool is empty, the supplier has
/// its amount and every household has paid its bill.
///
/// # Errors
/// [`LedgerFault`] when either check fails. Nothing may be booked then.
pub fn post(settlement: &Settlement) -> Result<Vec<Transfer>, LedgerFault> {
    settlement.check()?;
    let slot = settlement.basis.slot;
    let mut transfers = Vec::new();
    let mut pay = |from: &Account, to: &Account, amount: Money, reason: Reason| {
        transfers.extend(Transfer::of(slot, from, to, amount, reason));
    };
    for bill in &settlement.bills {
        let household = Account::Household(bill.point.clone());
        let charges = &bill.charges;
        pay(&household, &Account::Pool, charges.import.trade, Reason::Purchase);
        pay(&household, &Account::Pool, charges.export.trade, Reason::Sale);
        pay(&household, &Account::Pool, charges.import.balancing, Reason::ImportDeviation);
        pay(&household, &Account::Pool, charges.export.balancing, Reason::ExportDeviation);
        for line in &charges.late {
            pay(&household, &Account::Supplier, line.amount, Reason::Late(line.late.slot));
        }
    }
    let totals = &settlement.totals;
    pay(&Account::Pool, &Account::Supplier, totals.retail, Reason::Retail);
    pay(&Account::Supplier, &Account::Pool, totals.feed_in, Reason::FeedIn);
    let basis = &settlement.basis;
    pay(&Account::Pool, &Account::GridFees, basis.grid_fees, Reason::GridFees);
    pay(&Account::Pool, &Account::Congestion, basis.congestion, Reason::Congestion);
    check_balances(settlement, &transfers)?;
    Ok(transfers)
}

fn check_balances(settlement: &Settlement, transfers: &[Transfer]) -> Result<(), LedgerFault> {
    let balances = Balances::of(transfers)?;
    let households = settlement
        .bills
        .iter()
        .map(|bill| (Account::Household(bill.point.clone()), Money::ZERO - bill.charges.amount));
    let others = [
        (Account::Pool, Money::ZERO),
        (Account::Supplier, settlement.totals.supplier),
        (Account::GridFees, settlement.basis.grid_fees),
        (Account::Congestion, settlement.basis.congestion),
    ];
    for (account, expected) in households.chain(others) {
        let balance = balances.of_account(&account);
        if balance != expected {
            return Err(LedgerFault::WrongBalance { account, balance, expected });
        }
    }
    Ok(())
}

/// What every account has after a sequence of transfers: credits minus debits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Balances {
    accounts: BTreeMap<Account, Money>,
}

impl Balances {
    /// The balances after these transfers.
    ///
    /// # Errors
    /// As [`Balances::apply`].
    pub fn of<'a>(transfers: impl IntoIterator<Item = &'a Transfer>) -> Result<Self, LedgerFault> {
        let mut balances = Self::default();
        for transfer in transfers {
            balances.apply(transfer)?;
        }
        Ok(balances)
    }

    /// Moves the money of one transfer.
    ///
    /// # Errors
    /// [`LedgerFault`] when the amount is not positive, both accounts are the same or a balance
    /// leaves its range; nothing is changed then.
    pub fn apply(&mut self, transfer: &Transfer) -> Result<(), LedgerFault> {
        let Transfer { debit, credit, amount, .. } = transfer;
        if !amount.is_positive() {
            let (debit, credit, amount) = (debit.clone(), credit.clone(), *amount);
            return Err(LedgerFault::NotPositive { debit, credit, amount });
        }
        if debit == credit {
            return Err(LedgerFault::SameAccount { account: debit.clone() });
        }
        let out_of_range = |account: &Account| LedgerFault::OutOfRange { account: account.clone() };
        let paid =
            self.of_account(debit).checked_sub(*amount).ok_or_else(|| out_of_range(debit))?;
        let got =
            self.of_account(credit).checked_add(*amount).ok_or_else(|| out_of_range(credit))?;
        self.accounts.insert(debit.clone(), paid);
        self.accounts.insert(credit.clone(), got);
        Ok(())
    }

    /// The balance of an account; zero when nothing ever moved.
    #[must_use]
    pub fn of_account(&self, account: &Account) -> Money {
        self.accounts.get(account).copied().unwrap_or_default()
    }

    /// All accounts that ever moved, with their balances.
    pub fn iter(&self) -> impl Iterator<Item = (&Account, Money)> {
        self.accounts.iter().map(|(account, &balance)| (account, balance))
    }
}
