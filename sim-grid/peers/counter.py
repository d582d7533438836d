"""What every peer's driver shares: reading books, answering on standard output, measuring time.

A request is a line of JSON on standard input, its answer a line of JSON on standard output. Energy is
in kWh and prices in ct/kWh here, as peers take them; whoever asks converts and judges exactly.
"""

import csv
import json
import os
import resource
import sys
import time

# A peer that wants more memory than this fails by itself instead of taking the machine with it.
MEMORY_BYTES = 8 << 30
# Most runs of which the fastest counts.
MOST_RUNS = 5


class Lot:
    """An order of one step: `kwh` at `ct` or better."""

    __slots__ = ("id", "buys", "kwh", "ct")

    def __init__(self, id, buys, kwh, ct):
        self.id, self.buys, self.kwh, self.ct = id, buys, kwh, ct


class Outcome:
    """What each lot got: kWh, and the ct that it pays (a buyer) or is paid (a seller)."""

    def __init__(self, count):
        self.kwh = [0.0] * count
        self.ct = [0.0] * count

    def add(self, lot, kwh, ct_per_kwh):
        self.kwh[lot] += float(kwh)
        self.ct[lot] += float(kwh) * float(ct_per_kwh)

    def json(self):
        return {"kwh": self.kwh, "ct": self.ct}


def read(path):
    with open(path, newline="") as file:
        return [
            Lot(int(row["lot"]), row["side"] == "buy", int(row["wh"]) / 1000, int(row["e5_per_kwh"]) / 1000)
            for row in csv.DictReader(file)
        ]


def processor_time():
    """Of this process and of the solvers that it started and that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def measure(prepare, clear, lots, budget_s):
    """Clears a book once for the result and again for time, within the budget.

    `prepare(lots)` makes the peer's own orders and is not timed; `clear(orders, count)` is.
    """
    best, outcome, began = None, None, time.monotonic()
    for _ in range(MOST_RUNS):
        orders = prepare(lots)
        started = processor_time()
        cleared = clear(orders, len(lots))
        spent = processor_time() - started
        best = spent if best is None else min(best, spent)
        outcome = outcome or cleared
        if time.monotonic() - began > budget_s:
            break
    return best, outcome


def answer(methods, request, read):
    prepare, clear = methods[request["method"]]
    best, first = measure(prepare, clear, read(request["book"]), request["budget_s"])
    _, again = measure(prepare, clear, read(request["book"]), 0)
    _, shuffled = measure(prepare, clear, read(request["shuffled"]), 0)
    return {"seconds": best, "first": first.json(), "again": again.json(), "shuffled": shuffled.json()}


def serve(methods, read=read):
    """Answers requests until standard input ends; `read` makes of a file what is prepared."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    # What a peer or its solver prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            result = answer(methods, json.loads(line), read)
        except Exception as error:  # noqa: BLE001 - whatever the peer throws is its answer
            text = " ".join(str(error).split())
            result = {"error": f"{type(error).__name__}: {text}"[:300]}
        answers.write(json.dumps(result) + "\n")
        answers.flush()
