"""The matchers of Grid Singularity's framework, as its exchange calls them."""

from gsy_framework.matching_algorithms import PayAsBidMatchingAlgorithm, PayAsClearMatchingAlgorithm

import counter

MARKET, SLOT = "street", "2016-01-18T12:00"


def book(lots):
    bids = [
        {"id": str(lot.id), "buyer": f"buyer-{lot.id}", "energy": lot.kwh, "energy_rate": lot.ct}
        for lot in lots
        if lot.buys
    ]
    offers = [
        {"id": str(lot.id), "seller": f"seller-{lot.id}", "energy": lot.kwh, "energy_rate": lot.ct}
        for lot in lots
        if not lot.buys
    ]
    return {MARKET: {SLOT: {"bids": bids, "offers": offers, "current_time": SLOT}}}


def by(matcher):
    def clear(orders, count):
        outcome = counter.Outcome(count)
        for match in matcher().get_matches_recommendations(orders):
            for order in (match["bids"][0], match["offers"][0]):
                outcome.add(int(order["id"]), match["selected_energy"], match["trade_rate"])
        return outcome

    return book, clear


counter.serve({"pay-as-bid": by(PayAsBidMatchingAlgorithm), "pay-as-clear": by(PayAsClearMatchingAlgorithm)})
