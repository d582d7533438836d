//! What to order for a slot: a forecast of the net energy, and a limit price.
//!
//! Forecast: the newest slot whose energy is known (*persistence*), or the same slot a day earlier
//! (*yesterday*), or, without any history, the present power over a quarter of an hour.
//!
//! Limit: outside the local market a household buys at the retail price and sells at the feed-in
//! price. Every price between is a gain over that, and the strategy says how much of the room it
//! insists on:
//!
//! ```text
//! limit = feed-in + share · (retail − feed-in)      rounded to the tick, kept between the two
//! ```
//!
//! with one share for buying (near 1: pays almost retail rather than miss a trade) and one for
//! selling (near 0: accepts almost feed-in). The price is uniform, so a bolder limit does not change
//! what is paid, only whether there is a trade. No order when retail is not above feed-in, when
//! nothing is forecast, or when the forecast is nothing.

use protocol::{Offer, Side};
use units::{Price, Slot};

use super::edges::Edges;

/// Slots back that persistence looks for a known one.
const LOOK_BACK: i64 = 4;
/// Most that is ever ordered, Wh.
const MAX_ORDER_WH: i64 = 10_000_000;

/// Where a forecast comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forecast {
    /// As in the newest known slot.
    #[default]
    Persistence,
    /// As in the same slot a day earlier; as in the newest known slot when that is not known.
    Yesterday,
}

/// How a household bids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strategy {
    /// Whether it bids at all.
    pub enabled: bool,
    /// Where forecasts come from.
    pub forecast: Forecast,
    /// Position of the highest price to pay between feed-in (0) and retail (1 000 000).
    pub buy_share_ppm: i64,
    /// Position of the lowest price to accept between feed-in (0) and retail (1 000 000).
    pub sell_share_ppm: i64,
}

/// An order before it has a sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Which way.
    pub side: Side,
    /// How much, Wh > 0.
    pub quantity_wh: i64,
    /// Highest price to pay or lowest to accept, nano-currency per Wh.
    pub limit: i64,
}

impl Strategy {
    /// What to order for an offered slot. `power_mw` is the present power at the grid connection
    /// when it is fresh. `None` while nothing can be forecast, `Some(None)` when the forecast or
    /// the tariff leaves nothing to order.
    #[must_use]
    pub fn wish(
        &self,
        offer: &Offer,
        edges: &Edges,
        power_mw: Option<i64>,
    ) -> Option<Option<Wish>> {
        if !self.enabled || offer.retail <= offer.feed_in {
            return Some(None);
        }
        let net_wh = self.net_wh(Slot::new(offer.slot), edges, power_mw)?;
        let (side, share_ppm) = match net_wh {
            0 => return Some(None),
            1.. => (Side::Buy, self.buy_share_ppm),
            _ => (Side::Sell, self.sell_share_ppm),
        };
        let quantity_wh = net_wh.saturating_abs().min(MAX_ORDER_WH);
        let limit = limit(offer.retail, offer.feed_in, share_ppm);
        Some(Some(Wish { side, quantity_wh, limit }))
    }

    /// Expected import minus export of a slot, Wh.
    fn net_wh(&self, slot: Slot, edges: &Edges, power_mw: Option<i64>) -> Option<i64> {
        let net = |slot: Slot| edges.flow(slot, 1).map(|flow| flow.import_wh - flow.export_wh);
        let yesterday = match self.forecast {
            Forecast::Yesterday => net(slot.offset(-Slot::PER_DAY)),
            Forecast::Persistence => None,
        };
        let newest = || {
            let (last, _) =
                edges.last().filter(|(last, _)| slot.number() - last.number() <= LOOK_BACK)?;
            (0..LOOK_BACK).find_map(|back| net(last.offset(-back)))
        };
        // mW over a quarter of an hour: a quarter of as many mWh.
        let present = || power_mw.map(|mw| (mw / 4 + 500 * mw.signum()) / 1_000);
        yesterday.or_else(newest).or_else(present)
    }
}

/// A price at a position between feed-in and retail, on the tick.
fn limit(retail: i64, feed_in: i64, share_ppm: i64) -> i64 {
    let tick = i128::from(Price::TICK.nano_per_wh());
    let room = i128::from(retail) - i128::from(feed_in);
    let exact = i128::from(feed_in) * 1_000_000 + room * i128::from(share_ppm);
    let ticks = (exact + tick * 500_000).div_euclid(tick * 1_000_000);
    let price = i64::try_from(ticks * tick).expect("between two prices of 64 bits");
    price.clamp(feed_in, retail)
}

#[cfg(test)]
mod tests {
    use protocol::B256;

    use super::super::edges::Edge;
    use super::*;

    const S: i64 = 2_000;

    fn offer(retail: i64, feed_in: i64) -> Offer {
        Offer { slot: S, gate_ms: 0, retail, feed_in, time_ms: 0 }
    }

    fn strategy(forecast: Forecast) -> Strategy {
        Strategy { enabled: true, forecast, buy_share_ppm: 900_000, sell_share_ppm: 100_000 }
    }

    /// Edges at (slot, import, export), numbered in order.
    fn edges(registers: &[(i64, i64, i64)]) -> Edges {
        let behind = registers.iter().zip(1..).map(|(&(slot, import_wh, export_wh), seq)| {
            (
                Slot::new(slot),
                Edge { seq, digest: B256::ZERO, import_wh, export_wh, receipted_ms: None },
            )
        });
        Edges::new(behind, Slot::new(S - 1).start_ms(), 60_000)
    }

    #[test]
    fn the_forecast_falls_back_step_by_step() {
        let net = |forecast, registers: &[(i64, i64, i64)], power_mw| {
            strategy(forecast).net_wh(Slot::new(S), &edges(registers), power_mw)
        };
        let today = [(S - 3, 100, 50), (S - 2, 130, 90)];
        let yesterday = [(S - 97, 10, 0), (S - 96, 15, 0), (S - 3, 100, 50), (S - 2, 130, 90)];
        assert_eq!(net(Forecast::Persistence, &today, Some(1)), Some(-10));
        assert_eq!(net(Forecast::Yesterday, &yesterday, Some(1)), Some(5));
        assert_eq!(net(Forecast::Yesterday, &today, Some(1)), Some(-10));
        // Only one edge, or only old ones: the present power.
        assert_eq!(net(Forecast::Persistence, &today[..1], Some(400_000)), Some(100));
        assert_eq!(net(Forecast::Persistence, &yesterday[..2], Some(-402_000)), Some(-101));
        assert_eq!(net(Forecast::Persistence, &[], None), None);
    }

    #[test]
    fn limits_lie_on_the_tick_between_feed_in_and_retail() {
        for (retail, feed_in, ppm, expected) in [
            (288_000, 123_100, 900_000, 271_510),
            (288_000, 123_100, 100_000, 139_590),
            (288_000, 123_100, 0, 123_100),
            (288_000, 123_100, 1_000_000, 288_000),
            (20, 10, 500_000, 20),
            (20, 10, 499_999, 10),
            (-20, -400, 500_000, -210),
        ] {
            assert_eq!(limit(retail, feed_in, ppm), expected, "{retail} {feed_in} {ppm}");
        }
    }

    #[test]
    fn orders_follow_the_sign_of_the_forecast_and_need_room() {
        let bid = strategy(Forecast::Persistence);
        let wish =
            |registers: &[(i64, i64, i64)], offer: Offer| bid.wish(&offer, &edges(registers), None);
        let buying = [(S - 3, 0, 0), (S - 2, 40, 0)];
        let selling = [(S - 3, 0, 0), (S - 2, 0, 40)];
        let idle = [(S - 3, 0, 0), (S - 2, 7, 7)];
        let order = |side, limit| Some(Some(Wish { side, quantity_wh: 40, limit }));
        assert_eq!(wish(&buying, offer(288_000, 123_100)), order(Side::Buy, 271_510));
        assert_eq!(wish(&selling, offer(288_000, 123_100)), order(Side::Sell, 139_590));
        assert_eq!(wish(&idle, offer(288_000, 123_100)), Some(None));
        assert_eq!(wish(&buying, offer(123_100, 123_100)), Some(None));
        assert_eq!(wish(&[], offer(288_000, 123_100)), None);
    }
}
