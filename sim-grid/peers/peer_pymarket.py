"""PyMarket: random pairs, Huang's trade reduction, MUDA with a Vickrey price, and its own optimum."""

import pymarket
from pymarket.statistics import maximum_aggregated_utility

import counter


def book(lots):
    market = pymarket.Market()
    # Bids are known by their position; `ids` leads back to the lot.
    ids = []
    for lot in lots:
        market.accept_bid(lot.kwh, lot.ct, lot.id, lot.buys)
        ids.append(lot.id)
    return market, ids


def by(mechanism):
    def clear(orders, count):
        market, ids = orders
        transactions, extra = market.run(mechanism)
        outcome = counter.Outcome(count)
        frame = transactions.get_df()
        for bid, kwh, ct in zip(frame["bid"], frame["quantity"], frame["price"]):
            outcome.add(ids[int(bid)], kwh, ct)
        for user, fee in enumerate(extra.get("fees", [])):
            # A buyer pays the fee on top, a seller is paid less.
            outcome.ct[user] += float(fee) if market.bm.bids[ids.index(user)][3] else -float(fee)
        return outcome

    return book, clear


def optimum(orders, count):
    """Its linear program over all pairs; it names no price, so pairs settle halfway."""
    market, ids = orders
    status, _, pairs = maximum_aggregated_utility(market.bm.get_df())
    if status != "Optimal":
        raise RuntimeError(f"the linear program ends as {status}")
    outcome = counter.Outcome(count)
    for (buyer, seller), kwh in pairs.items():
        if kwh:
            halfway = (market.bm.bids[buyer][1] + market.bm.bids[seller][1]) / 2
            outcome.add(ids[buyer], kwh, halfway)
            outcome.add(ids[seller], kwh, halfway)
    return outcome


counter.serve({
    "p2p": by("p2p"),
    "huang": by("huang"),
    "muda": by("muda"),
    "optimum": (book, optimum),
})
