//! The messages. Field names are those of the JSON and of the typed data alike.
//!
//! Energy is in Wh, power in W (positive = from the grid), prices in nano-currency per Wh, money in
//! nano-currency, times in Unix milliseconds UTC, slots in quarter-hours since the Unix epoch. What
//! may be unknown is a list of no or one element: unknown is never zero.

use alloy_sol_types::sol;
use serde::{Deserialize, Serialize};

use crate::signed::Signed;
use crate::words::{Peg, Side};

sol! {
    /// What a meter showed at the end of a slot; links to the reading before it.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Reading {
        /// Metering point.
        string point;
        /// Counts up when the key or the meter is exchanged.
        uint32 epoch;
        /// Counts up by one with every reading of the epoch, from 1.
        uint64 seq;
        /// Digest of the reading before (zero for the first).
        bytes32 prev;
        /// The slot whose end this reading belongs to.
        int64 slot;
        /// When the registers were read.
        int64 time_ms;
        /// `ClockStatus` as text.
        string clock;
        /// Cumulative energy from the grid, Wh.
        uint64 import_wh;
        /// Cumulative energy to the grid, Wh.
        uint64 export_wh;
        /// Cumulative energy of the household's own plant, Wh, when it is metered.
        uint64[] produced_wh;
        /// Power at that moment, W.
        int64[] power_w;
        /// `Quality` as text.
        string quality;
        /// The smallest step of the coarsest of both registers, mWh, when it is known: the energy
        /// of a slot is known to this and no better.
        uint64[] resolution_mwh;
        /// The meter's own clock less the reader's, milliseconds, when the meter has one. It is
        /// noted and not used.
        int64[] device_offset_ms;
        /// What the meter said before and after the edge when a register was taken on the straight
        /// line between the two; at most [`crate::MAX_SAMPLES`].
        RawSample[] samples;
        /// What happened to the registers since the reading before; at most [`crate::MAX_EVENTS`].
        MeterEvent[] events;
    }

    /// A counter as the device showed it.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct RawSample {
        /// `import` or `export`.
        string register;
        int64 time_ms;
        int64 raw_mwh;
    }

    /// Something that happened to a register and is not plain counting.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct MeterEvent {
        /// `import`, `export`, `produced.` and a device's name, `clock` or `journal`.
        string register;
        /// `EventKind` as text; it says what `before` and `after` are.
        string kind;
        int64 before;
        int64 after;
        /// How often it was seen since the reading before, at least 1.
        uint32 times;
        /// When it was seen first.
        int64 time_ms;
    }

    /// A part of an order: this much at this limit.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Step {
        int64 quantity_wh;
        /// `Peg` as text.
        string peg;
        /// Highest price to pay or lowest to accept, or the distance from what it is pegged to;
        /// nano-currency per Wh.
        int64 limit;
    }

    /// What a household wants in one slot, either way: buy below this, sell above that. A later
    /// sequence replaces an earlier one until the gate.
    ///
    /// The lowest limit of `sell` lies above the highest one of `buy`, so that at any price at most
    /// one of them trades.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        string point;
        int64 slot;
        /// Strictly increasing per metering point.
        uint64 seq;
        /// Up to 16 steps whose limits fall; empty when there is nothing to buy.
        Step[] buy;
        /// Up to 16 steps whose limits rise; empty when there is nothing to sell. Not both are.
        Step[] sell;
        int64 time_ms;
    }

    /// The household's present power flows, for display; never settled.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Live {
        string point;
        int64 time_ms;
        /// At the grid connection, W, positive = from the grid.
        int64[] power_w;
        /// Production of the household's plant, W, positive = producing.
        int64[] pv_w;
        /// Battery, W, positive = charging.
        int64[] battery_w;
        /// State of charge in tenths of a percent.
        int64[] soc_permille;
        /// Line-to-neutral voltage, mV.
        int64[] voltage_mv;
    }

    /// A household asks again for the statements of the log's entries from a position on.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Ask {
        string point;
        /// The first entry that it has not seen.
        uint64 from_index;
        /// Nothing before this slot was settled for the first time; for a household that has seen
        /// nothing of the log yet.
        int64 from_slot;
        int64 time_ms;
    }

    /// A household's verdict on the statement it received.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Audit {
        string point;
        int64 slot;
        /// Which settlement of the slot.
        uint32 version;
        /// Whether signature, inclusion, consistency and its own bill all held.
        bool verified;
        /// What did not hold; empty when verified.
        string reason;
        /// Digest of the statement judged.
        bytes32 statement;
        int64 time_ms;
    }

    /// The supplier's prices and the gate of a coming slot.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Offer {
        int64 slot;
        /// Orders are accepted before this moment.
        int64 gate_ms;
        int64 retail;
        int64 feed_in;
        /// What members pay each other, as `market::sharing::Rule` is written; orders are taken where
        /// it is `auction`.
        string rule;
        int64 time_ms;
    }

    /// The promise that every reading up to `seq` is stored for good.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Receipt {
        string point;
        uint32 epoch;
        /// Highest sequence number without a gap before it (0 = none yet).
        uint64 seq;
        /// Digest of that reading.
        bytes32 head;
        int64 time_ms;
    }

    /// Whether an order stands in the book.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Verdict {
        string point;
        int64 slot;
        uint64 seq;
        /// Digest of the order.
        bytes32 order;
        bool accepted;
        /// Why not; empty when accepted.
        string reason;
        int64 time_ms;
    }

    /// The price at one bus of the grid and what it is made of; nano-currency per Wh. Its digest is
    /// a leaf of the clearing's tree of prices.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct BusPrice {
        int64 slot;
        string bus;
        /// The sum of the parts.
        int64 price;
        int64 energy;
        /// Fees of the grid; negative where a seller bears them.
        int64 grid_fee;
        /// What full branches add or take off.
        int64 congestion;
    }

    /// The result of an auction, for everyone.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Clearing {
        int64 slot;
        /// Merkle root over the sorted digests of the orders in the book.
        bytes32 orders_root;
        /// Root of the log when the gate closed.
        bytes32 log_root;
        /// Decides who gets the last Wh of a tie: keccak256(log root ‖ orders root ‖ slot).
        bytes32 seed;
        uint32 orders;
        int64 cleared_wh;
        /// Uniform price, at the root of the grid; none without a trade there.
        int64[] price;
        /// Lowest and highest market-clearing price; none without a trade.
        int64[] interval;
        int64 retail;
        int64 feed_in;
        /// Digest of the grid, its limits and fees; zero when everybody is at one bus.
        bytes32 grid;
        /// Digest of the community's sharing rule and legal key; zero for the auction alone.
        bytes32 sharing;
        /// Merkle root over the prices of the buses that trade, by the grid's order, and how many.
        bytes32 prices_root;
        uint32 prices;
        /// What buyers pay more than sellers get: the network's fees, and the rent of full branches.
        int64 grid_fees;
        int64 congestion;
        /// `lp`, or `merit order: ` and why.
        string method;
        int64 time_ms;
    }

    /// What one order got.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fill {
        string point;
        int64 slot;
        uint64 seq;
        /// Digest of the order.
        bytes32 order;
        /// What its side that traded got, Wh; the other one is zero, and both are without a trade.
        int64 bought_wh;
        int64 sold_wh;
        int64[] price;
        /// The price of the household's bus, when it trades on a grid; its place in the clearing's
        /// tree of prices, and the siblings from there to its root.
        BusPrice[] bus;
        uint64 position;
        bytes32[] path;
        int64 time_ms;
    }

    /// Energy of an earlier slot that became known only now; settled with the supplier.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct LateLine {
        /// The slot in which the span ends, and how many slots it covers.
        int64 slot;
        uint32 slots;
        int64 import_wh;
        int64 export_wh;
        int64 retail;
        int64 feed_in;
    }

    /// What the grid operator allocates to one household, and what it pays its neighbours for the
    /// difference to the community's own rule. Positive amounts are paid.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct LegalLine {
        /// Of the import, what neighbours gave; of the export, what neighbours took.
        int64 taken_wh;
        int64 given_wh;
        /// What the supplier bills for the rest.
        int64 residual;
        /// The household's part of what the allocation costs the street.
        int64 shortfall;
        /// What is paid to the neighbours: `pays - gets + shortfall - residual`.
        int64 difference;
    }

    /// How one household's energy of a slot is shared.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct SharingLine {
        /// What members pay each other, as `market::sharing::Rule` is written.
        string rule;
        /// Kind of the legal key: `none`, `pro-rata`, `static`, `cascade`, `hierarchical`, `pairs`.
        string key;
        /// What the import costs and the export earns by the rule; either may be negative.
        int64 pays;
        int64 gets;
        /// The legal allocation; none without a key or without a reading.
        LegalLine[] legal;
    }

    /// One household's bill for one slot. Its salted digest is a leaf of the slot's tree.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Statement {
        string point;
        int64 slot;
        /// 1 for what was settled at the deadline; a slot is settled again when a meter comes late,
        /// and the newest version is the bill.
        uint32 version;
        /// Random; keeps the leaf from being guessed.
        bytes32 salt;
        /// Whether both edges of the slot were known in time.
        bool measured;
        int64 import_wh;
        int64 export_wh;
        /// Scheduled by the auction.
        int64 bought_wh;
        int64 sold_wh;
        /// What a Wh of the trade cost: the slot's price, or that of the household's own bus; none
        /// without any.
        int64[] price;
        /// What the price of the own bus is made of, when it trades on a grid.
        BusPrice[] bus;
        /// Metered minus scheduled on each leg; positive = short, negative = long.
        int64 import_deviation_wh;
        int64 export_deviation_wh;
        /// Part of each deviation that was netted inside the community.
        int64 import_local_wh;
        int64 export_local_wh;
        LateLine[] late;
        /// How the energy is shared; none where all is said by the auction alone.
        SharingLine[] sharing;
        /// The bill: positive = pays, negative = receives.
        int64 amount;
        /// Wh that earn producer rewards: those of version 1, for they are earned in time or never.
        int64 reward_wh;
        /// All rewards earned up to this entry of the log, in 10^-18 tokens.
        uint256 reward_total;
    }

    /// What a slot moved, in energy, money and rewards.
    #[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Totals {
        /// Metered energy, late energy included.
        int64 import_wh;
        int64 export_wh;
        int64 grid_import_wh;
        int64 grid_export_wh;
        /// Export that was used inside the community.
        int64 local_wh;
        /// Money into and out of the pool by this entry's transfers; equal. Those of a later version
        /// are the differences to the version before, while all energy and the supplier's money are
        /// those of the slot as it stands now.
        int64 debit;
        int64 credit;
        /// What the supplier gets from the whole street.
        int64 supplier;
        /// What buyers paid more than sellers got: for the network, and because branches were full.
        int64 grid_fees;
        int64 congestion;
        int64 reward_wh;
        /// All rewards ever earned by all, in 10^-18 tokens.
        uint256 reward_total;
    }

    /// The public face of a settled slot; its digest is a leaf of the community's log.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Header {
        int64 slot;
        /// Which settlement of the slot, from 1.
        uint32 version;
        /// Position in the log, from 0.
        uint64 index;
        /// Root of the log before this header.
        bytes32 previous_root;
        bytes32 orders_root;
        bytes32 readings_root;
        bytes32 statements_root;
        uint32 statements;
        /// Households whose registers were not known in time.
        uint32 missing;
        int64 retail;
        int64 feed_in;
        int64[] price;
        int64 scheduled_wh;
        /// Sums of the short and of the long deviations, and what was netted between them.
        int64 short_wh;
        int64 long_wh;
        int64 matched_wh;
        /// Metered energy that no earlier version of the slot had; all of it in version 1.
        int64 found_import_wh;
        int64 found_export_wh;
        /// Digest of the sharing rule and the legal key; zero for the auction alone.
        bytes32 sharing;
        Totals totals;
        int64 time_ms;
    }

    /// The operator's signature under the log at one size.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Checkpoint {
        uint64 size;
        bytes32 root;
        int64 slot;
        int64 time_ms;
    }

    /// A household exchanges its key. Both keys sign it, see [`crate::SignedKeyChange`].
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct KeyChange {
        string point;
        /// Epoch of the readings, whose chain goes on.
        uint32 epoch;
        /// Counts up by one with every change of the epoch, from 1.
        uint32 number;
        /// The Ed25519 key that goes, and the one that comes.
        bytes32 old_key;
        bytes32 new_key;
        /// The first reading that the new key signs.
        uint64 from_seq;
        /// Digest of the reading before it, the last one that the old key signed: whoever finds the
        /// old key later can put nothing before it.
        bytes32 head;
        /// Until when what the old key signs still counts.
        int64 until_ms;
        int64 time_ms;
    }

    /// A key that counts no more, at once; said by the key itself or by the operator.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct KeyRevocation {
        string point;
        uint32 epoch;
        bytes32 key;
        string reason;
        int64 time_ms;
    }

    /// Which keys of a household the operator has on record.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct KeyRecord {
        string point;
        uint32 epoch;
        /// The newest change, 0 = the key as it was enrolled, and its digest.
        uint32 number;
        bytes32 change;
        /// The newest key.
        bytes32 key;
        /// Revoked keys of the epoch.
        bytes32[] revoked;
        int64 time_ms;
    }

    /// A message that was not accepted, and why.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Refusal {
        string point;
        /// Kind of message, the last part of its topic.
        string kind;
        /// Keccak-256 of the refused bytes.
        bytes32 message;
        string reason;
        int64 time_ms;
    }
}

/// A statement with everything a household needs to check it on its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// The bill.
    pub statement: Statement,
    /// Position of the statement in the slot's tree.
    pub position: u64,
    /// Siblings from the statement's leaf to `header.statements_root`.
    pub path: Vec<alloy_primitives::B256>,
    /// The slot's header.
    pub header: Header,
    /// Siblings from the header's leaf to the checkpoint's root.
    pub log_path: Vec<alloy_primitives::B256>,
    /// The signed log that contains the header as its last leaf.
    pub checkpoint: Signed<Checkpoint>,
}

impl Step {
    /// Up to `quantity_wh` at a price.
    #[must_use]
    pub fn fixed(quantity_wh: i64, limit: i64) -> Self {
        Self { quantity_wh, peg: Peg::Fixed.to_string(), limit }
    }
}

impl Order {
    /// The steps of a side, the most eager first; empty when it wants nothing on that side.
    #[must_use]
    pub fn curve(&self, side: Side) -> &[Step] {
        match side {
            Side::Buy => &self.buy,
            Side::Sell => &self.sell,
        }
    }

    /// The most it trades on a side, Wh.
    #[must_use]
    pub fn quantity_wh(&self, side: Side) -> i64 {
        self.curve(side).iter().fold(0, |sum, step| sum.saturating_add(step.quantity_wh))
    }
}
