"""ASSUME: its clearing classes, called directly, without its simulation around them."""

from datetime import datetime, timedelta

from assume.common.market_objects import MarketConfig, MarketProduct
from assume.markets.clearing_algorithms.simple import PayAsBidRole, PayAsClearRole
from dateutil import rrule
from dateutil.relativedelta import relativedelta

import counter

START = datetime(2016, 1, 18, 12)
END = START + timedelta(minutes=15)
PRODUCT = (START, END, None)
CONFIG = MarketConfig(
    market_id="street",
    opening_hours=rrule.rrule(rrule.MINUTELY, interval=15, dtstart=START, until=END + timedelta(days=1)),
    opening_duration=timedelta(minutes=15),
    market_products=[MarketProduct(relativedelta(minutes=15), 1)],
)


def book(lots):
    return [
        {
            "start_time": START,
            "end_time": END,
            "only_hours": None,
            "agent_addr": f"lot-{lot.id}",
            "bid_id": str(lot.id),
            # Generation counts positive, demand negative.
            "volume": -lot.kwh if lot.buys else lot.kwh,
            "price": lot.ct,
            "node": "street",
        }
        for lot in lots
    ]


def by(role):
    def clear(orders, count):
        accepted, _, _, _ = role(CONFIG).clear(orders, [PRODUCT])
        outcome = counter.Outcome(count)
        for order in accepted:
            outcome.add(int(order["bid_id"]), abs(order["accepted_volume"]), order["accepted_price"])
        return outcome

    return book, clear


counter.serve({"pay-as-clear": by(PayAsClearRole), "pay-as-bid": by(PayAsBidRole)})
