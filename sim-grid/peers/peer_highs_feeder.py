"""A radial feeder for HiGHS: caps and a fee on every branch, a balance row per node."""

import csv

import highspy
import numpy

import counter
import oracle


class Branch:
    """Leads from `parent` to the node after the branches before it; caps in kWh, fee in ct/kWh."""

    def __init__(self, row):
        self.parent = int(row["parent"])
        self.import_kwh = int(row["import_wh"]) / 1000
        self.export_kwh = int(row["export_wh"]) / 1000
        self.ct = int(row["fee_e5"]) / 1000


def read(path):
    with open(path, newline="") as file:
        nodes = [int(row["node"]) for row in csv.DictReader(file)]
    with open(path + ".grid", newline="") as file:
        branches = [Branch(row) for row in csv.DictReader(file)]
    # Lots and branches answer to one length: the lots'.
    return Problem(counter.read(path), nodes, branches)


class Problem:
    def __init__(self, lots, nodes, branches):
        self.lots, self.nodes, self.branches = lots, nodes, branches

    def __len__(self):
        return len(self.lots)


def book(problem):
    """Columns: the lots, then per branch the flow towards its node and away from it. Node balance:
    what is bought and passed on is what is sold and arrives."""
    lots, branches = problem.lots, problem.branches
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(lots) + 2 * len(branches), len(branches) + 1
    lp.sense_ = highspy.ObjSense.kMaximize
    cost = [lot.ct if lot.buys else -lot.ct for lot in lots]
    upper = [lot.kwh for lot in lots]
    starts, rows, values = list(range(len(lots) + 1)), list(problem.nodes), [1.0 if lot.buys else -1.0 for lot in lots]
    for number, branch in enumerate(branches):
        for way, cap in ((1.0, branch.import_kwh), (-1.0, branch.export_kwh)):
            cost.append(-branch.ct)
            upper.append(cap)
            rows += [branch.parent, number + 1]
            values += [way, -way]
            starts.append(len(rows))
    lp.col_cost_, lp.col_upper_ = numpy.array(cost), numpy.array(upper)
    lp.col_lower_ = numpy.zeros(lp.num_col_)
    lp.row_lower_ = lp.row_upper_ = numpy.zeros(lp.num_row_)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = numpy.array(starts)
    lp.a_matrix_.index_ = numpy.array(rows)
    lp.a_matrix_.value_ = numpy.array(values)
    return lp, lots, problem.nodes


oracle.serve(book, read)
