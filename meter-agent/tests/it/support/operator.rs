//! An operator in miniature: signs offers, receipts and statements for one household and an
//! invisible neighbour, and can be told to lie.

use std::collections::BTreeMap;

use market::{
    Book, Flow, Late, Limit, Limits, Metered, Settlement, Step, Steps, Terms, clear, propose,
    settle,
};
use protocol::merkle::{self, Frontier};
use protocol::{
    Address, B256, Checkpoint, Clearing, Delivery, Domain, Fill, Header, LateLine, Offer,
    OperatorKey, Order, Peg, Reading, Receipt, Signed, Statement, Totals, U256, Verdict, keccak256,
};
use units::{CommunityId, Energy, PointId, Price, Slot};

pub const RETAIL: i64 = 288_000;
pub const FEED_IN: i64 = 123_100;

pub fn domain() -> Domain {
    Domain::new(CommunityId::new("test-street").expect("valid"))
}

pub fn point() -> PointId {
    PointId::new("C001").expect("valid")
}

fn neighbour() -> PointId {
    PointId::new("N001").expect("valid")
}

fn terms() -> Terms {
    Terms::new(Price::from_nano_per_wh(RETAIL), Price::from_nano_per_wh(FEED_IN)).expect("valid")
}

/// A curve as the market reads it.
fn steps(steps: &[protocol::Step]) -> Option<Steps> {
    let step = |step: &protocol::Step| {
        let price = Price::from_nano_per_wh(step.limit);
        let limit = match step.peg.parse().expect("a peg") {
            Peg::Fixed => Limit::At(price),
            Peg::BelowRetail => Limit::BelowRetail(price),
            Peg::AboveFeedIn => Limit::AboveFeedIn(price),
        };
        Step { quantity: Energy::from_wh(step.quantity_wh), limit }
    };
    Steps::new(steps.iter().map(step).collect()).ok()
}

/// What was settled for a slot.
pub struct Round {
    pub clearing: Clearing,
    pub fill: Option<Fill>,
    pub delivery: Delivery,
}

#[derive(Clone)]
pub struct Operator {
    secret: [u8; 32],
    pub domain: Domain,
    log: Frontier,
    /// Registers by slot, as received.
    edges: BTreeMap<i64, (i64, i64)>,
    settled: Option<i64>,
    rewards: U256,
    /// Whether the neighbour's meter is missing in the slots that are settled now.
    pub neighbour_is_silent: bool,
    /// What members pay each other, from the next offer on.
    pub rule: String,
    past: BTreeMap<i64, Past>,
}

/// A settled slot.
#[derive(Clone)]
struct Past {
    clearing: market::Clearing,
    public: Clearing,
    version: u32,
    own: (Option<Flow>, Vec<Late>),
    settlement: Settlement,
    eligible: [Energy; 2],
}

impl Operator {
    pub fn new(seed: u8) -> Self {
        Self {
            secret: [seed; 32],
            domain: domain(),
            log: Frontier::default(),
            edges: BTreeMap::new(),
            settled: None,
            rewards: U256::ZERO,
            neighbour_is_silent: false,
            rule: "auction".into(),
            past: BTreeMap::new(),
        }
    }

    /// The same operator in another community.
    pub fn in_community(name: &str, seed: u8) -> Self {
        let community = CommunityId::new(name).expect("valid");
        Self { domain: Domain::new(community), ..Self::new(seed) }
    }

    fn key(&self) -> OperatorKey {
        OperatorKey::from_bytes(&self.secret).expect("a key")
    }

    pub fn address(&self) -> Address {
        self.key().address()
    }

    pub fn sign<T: protocol::Message>(&self, body: T) -> Signed<T> {
        Signed::by_operator(body, &self.domain, &self.key())
    }

    pub fn offer(&self, slot: Slot, now_ms: i64) -> Offer {
        Offer {
            slot: slot.number(),
            gate_ms: slot.start_ms() - 120_000,
            retail: RETAIL,
            feed_in: FEED_IN,
            rule: self.rule.clone(),
            time_ms: now_ms,
        }
    }

    pub fn verdict(&self, order: &Order, accepted: bool, now_ms: i64) -> Verdict {
        Verdict {
            point: order.point.clone(),
            slot: order.slot,
            seq: order.seq,
            order: self.domain.digest(order),
            accepted,
            reason: if accepted { String::new() } else { "too late".into() },
            time_ms: now_ms,
        }
    }

    /// Takes a reading as it is.
    pub fn store(&mut self, reading: &Reading) {
        let wh = |wh: u64| i64::try_from(wh).expect("small");
        self.edges.insert(reading.slot, (wh(reading.import_wh), wh(reading.export_wh)));
    }

    pub fn receipt(&self, reading: &Reading, now_ms: i64) -> Receipt {
        Receipt {
            point: reading.point.clone(),
            epoch: reading.epoch,
            seq: reading.seq,
            head: self.domain.digest(reading),
            time_ms: now_ms,
        }
    }

    /// Settles a slot honestly.
    pub fn settle(&mut self, slot: Slot, now_ms: i64, order: Option<&Order>) -> Round {
        self.settle_with(slot, now_ms, order, |_, _| {})
    }

    /// Settles a slot; `lie` changes statement and header before they are hashed and signed.
    pub fn settle_with(
        &mut self,
        slot: Slot,
        now_ms: i64,
        order: Option<&Order>,
        lie: impl FnOnce(&mut Statement, &mut Header),
    ) -> Round {
        let clearing = self.clear(slot, order);
        let own = self.meter(slot);
        let settlement = self.settlement(&clearing, &own);
        let public = self.public(&clearing, now_ms);
        let filled = |side| clearing.filled(&point(), side).wh();
        let fill = order.map(|order| Fill {
            point: order.point.clone(),
            slot: slot.number(),
            seq: order.seq,
            order: self.domain.digest(order),
            bought_wh: filled(market::Side::Buy),
            sold_wh: filled(market::Side::Sell),
            price: public.price.clone(),
            bus: vec![],
            position: 0,
            path: vec![],
            time_ms: now_ms,
        });
        let eligible = eligible(&settlement);
        self.rewards += U256::from(eligible[0].wh().unsigned_abs());
        let entry =
            Past { clearing, public: public.clone(), version: 1, own, settlement, eligible };
        let delivery = self.deliver(now_ms, &entry, None, lie);
        self.past.insert(slot.number(), entry);
        Round { clearing: public, fill, delivery }
    }

    /// Settles a slot again with the meters that are there now; `lie` as above.
    pub fn settle_again(
        &mut self,
        slot: Slot,
        now_ms: i64,
        lie: impl FnOnce(&mut Statement, &mut Header),
    ) -> Delivery {
        let before = self.past[&slot.number()].clone();
        let (flow, late) = self.meter(slot);
        let own = (before.own.0.or(flow), [&before.own.1[..], &late[..]].concat());
        let settlement = self.settlement(&before.clearing, &own);
        let version = before.version + 1;
        let entry = Past { version, own, settlement, ..before.clone() };
        let delivery = self.deliver(now_ms, &entry, Some(&before), lie);
        self.past.insert(slot.number(), entry);
        delivery
    }

    fn settlement(
        &self,
        clearing: &market::Clearing,
        (flow, late): &(Option<Flow>, Vec<Late>),
    ) -> Settlement {
        let bought = |side| {
            let fills = clearing.fills.iter().filter(|f| f.point == neighbour() && f.side == side);
            fills.map(|fill| fill.energy).sum::<Energy>()
        };
        // The neighbour always misses its schedule a little, so that there is something to net.
        let neighbour_flow = Flow {
            import: bought(market::Side::Buy) + Energy::from_wh(7),
            export: bought(market::Side::Sell) + Energy::from_wh(5),
            produced: None,
        };
        let metered = [
            Metered { point: point(), rank: [1; 32], renewable: true, flow: *flow },
            Metered {
                point: neighbour(),
                rank: [2; 32],
                renewable: false,
                flow: (!self.neighbour_is_silent).then_some(neighbour_flow),
            },
        ];
        settle(clearing, terms(), &metered, late).expect("settles")
    }

    /// The log as it stands, to go on from later or elsewhere.
    pub fn fork(&self) -> Self {
        self.clone()
    }

    /// The neighbour takes the other side of 60 % of the order, in turn what it sells and what it
    /// buys where it has both.
    fn clear(&self, slot: Slot, order: Option<&Order>) -> market::Clearing {
        use market::Side::{Buy, Sell};
        let mut book = Book::open(slot, terms(), Limits::default());
        if let Some(order) = order {
            let curves = [(Buy, steps(&order.buy)), (Sell, steps(&order.sell))];
            for (side, steps) in curves.clone() {
                if let Some(steps) = steps {
                    let (point, node) = (point(), market::Node::ROOT);
                    let order = market::Order { point, node, side, steps, rank: [0; 32] };
                    book.place(order).expect("placed");
                }
            }
            let mut sides = curves.iter().filter(|(_, steps)| steps.is_some());
            let turn = if slot.number() % 2 == 0 { sides.next() } else { sides.next_back() };
            let (side, limit, wh) = match turn.expect("an order has a side").0 {
                Buy => (Sell, FEED_IN, order.quantity_wh(protocol::Side::Buy)),
                Sell => (Buy, RETAIL, order.quantity_wh(protocol::Side::Sell)),
            };
            let quantity = Energy::from_wh((wh * 6 / 10).max(1));
            let limit = Price::from_nano_per_wh(limit);
            let order = market::Order::plain(neighbour(), side, quantity, limit, [0; 32]);
            book.place(order).expect("placed");
        }
        clear(&book, Some(propose(&book)))
    }

    fn meter(&mut self, slot: Slot) -> (Option<Flow>, Vec<Late>) {
        let (mut flow, mut late) = (None, Vec::new());
        for (&edge, &(import, export)) in self.edges.range(..=slot.number()) {
            if let Some(from) = self.settled.filter(|&from| from < edge) {
                let (old_import, old_export) = self.edges[&from];
                let import = Energy::from_wh(import - old_import);
                let export = Energy::from_wh(export - old_export);
                if edge == slot.number() && edge - from == 1 {
                    flow = Some(Flow { import, export, produced: None });
                } else {
                    let (slot, slots) =
                        (Slot::new(edge), u32::try_from(edge - from).expect("small"));
                    late.push(Late { point: point(), slot, slots, import, export, terms: terms() });
                }
            }
            self.settled = Some(self.settled.unwrap_or(edge).max(edge));
        }
        (flow, late)
    }

    fn public(&self, clearing: &market::Clearing, now_ms: i64) -> Clearing {
        let price: Vec<i64> = clearing.price.map(Price::nano_per_wh).into_iter().collect();
        let (orders_root, slot) = (B256::repeat_byte(7), clearing.slot.number().to_be_bytes());
        Clearing {
            slot: clearing.slot.number(),
            orders_root,
            log_root: B256::ZERO,
            seed: keccak256([B256::ZERO.as_slice(), orders_root.as_slice(), &slot].concat()),
            orders: 2,
            cleared_wh: clearing.cleared.wh(),
            interval: price.iter().chain(&price).copied().collect(),
            price,
            retail: RETAIL,
            feed_in: FEED_IN,
            grid: B256::ZERO,
            sharing: B256::ZERO,
            prices_root: B256::ZERO,
            prices: 0,
            grid_fees: 0,
            congestion: 0,
            method: "lp".into(),
            time_ms: now_ms,
        }
    }

    fn deliver(
        &mut self,
        now_ms: i64,
        entry: &Past,
        before: Option<&Past>,
        lie: impl FnOnce(&mut Statement, &mut Header),
    ) -> Delivery {
        let bill = entry.settlement.bill(&point()).expect("there");
        let mut statement = statement(bill, entry, self.rewards);
        let mut header = header(entry, before, now_ms, self.rewards);
        (header.index, header.previous_root) = (self.log.size(), self.log.root());
        // The neighbour's leaf stands beside ours; its content is nobody's business.
        let other = merkle::leaf(B256::repeat_byte(9));
        let own = |statement: &Statement| merkle::leaf(self.domain.digest(statement));
        header.statements = 2;
        lie(&mut statement, &mut header);
        let leaves = [own(&statement), other];
        if header.statements_root.is_zero() {
            header.statements_root = merkle::root(&leaves);
        }
        let log_path = self.log.append(merkle::leaf(self.domain.digest(&header)));
        let checkpoint = Checkpoint {
            size: self.log.size(),
            root: self.log.root(),
            slot: header.slot,
            time_ms: now_ms,
        };
        Delivery {
            path: merkle::path(&leaves, 0),
            position: 0,
            statement,
            header,
            log_path,
            checkpoint: self.sign(checkpoint),
        }
    }
}

/// What earns rewards: own energy, and everybody's.
fn eligible(settlement: &Settlement) -> [Energy; 2] {
    [settlement.bill(&point()).expect("there").eligible, settlement.totals.eligible]
}

fn statement(bill: &market::Bill, entry: &Past, reward_total: U256) -> Statement {
    let public = &entry.public;
    let market::Charges { import, export, late, amount } = &bill.charges;
    let late = late.iter().map(|line| LateLine {
        slot: line.late.slot.number(),
        slots: line.late.slots,
        import_wh: line.late.import.wh(),
        export_wh: line.late.export.wh(),
        retail: RETAIL,
        feed_in: FEED_IN,
    });
    Statement {
        point: bill.point.to_string(),
        slot: public.slot,
        version: entry.version,
        salt: B256::repeat_byte(3),
        measured: bill.measured,
        import_wh: import.metered.wh(),
        export_wh: export.metered.wh(),
        bought_wh: import.scheduled.wh(),
        sold_wh: export.scheduled.wh(),
        price: public.price.clone(),
        bus: vec![],
        import_deviation_wh: import.deviation.wh(),
        export_deviation_wh: export.deviation.wh(),
        import_local_wh: import.local.wh(),
        export_local_wh: export.local.wh(),
        late: late.collect(),
        sharing: vec![],
        amount: amount.nano(),
        reward_wh: entry.eligible[0].wh(),
        reward_total,
    }
}

fn header(entry: &Past, before: Option<&Past>, now_ms: i64, rewards: U256) -> Header {
    let (public, basis, sums) = (&entry.public, &entry.settlement.basis, &entry.settlement.totals);
    let metered = |entry: &Past| {
        let sums = &entry.settlement.totals;
        ((sums.import + sums.late_import).wh(), (sums.export + sums.late_export).wh())
    };
    let old = before.map_or((0, 0), metered);
    Header {
        slot: basis.slot.number(),
        version: entry.version,
        index: 0,
        previous_root: B256::ZERO,
        orders_root: public.orders_root,
        readings_root: B256::ZERO,
        statements_root: B256::ZERO,
        statements: 0,
        missing: u32::try_from(sums.missing).expect("small"),
        retail: RETAIL,
        feed_in: FEED_IN,
        price: public.price.clone(),
        scheduled_wh: sums.scheduled.wh(),
        short_wh: basis.short.wh(),
        long_wh: basis.long.wh(),
        matched_wh: basis.matched.wh(),
        found_import_wh: metered(entry).0 - old.0,
        found_export_wh: metered(entry).1 - old.1,
        sharing: B256::ZERO,
        totals: Totals {
            import_wh: (sums.import + sums.late_import).wh(),
            export_wh: (sums.export + sums.late_export).wh(),
            grid_import_wh: (sums.grid_import + sums.late_import).wh(),
            grid_export_wh: (sums.grid_export + sums.late_export).wh(),
            local_wh: sums.local.wh(),
            debit: 5,
            credit: 5,
            supplier: sums.supplier.nano(),
            grid_fees: 0,
            congestion: 0,
            reward_wh: entry.eligible[1].wh(),
            reward_total: rewards,
        },
        time_ms: now_ms,
    }
}
