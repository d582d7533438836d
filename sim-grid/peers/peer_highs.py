"""The welfare problem for HiGHS: a linear program with one balance row."""

import highspy
import numpy

import oracle


def book(lots):
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(lots), 1
    lp.sense_ = highspy.ObjSense.kMaximize
    lp.col_cost_ = numpy.array([lot.ct if lot.buys else -lot.ct for lot in lots])
    lp.col_lower_ = numpy.zeros(len(lots))
    lp.col_upper_ = numpy.array([lot.kwh for lot in lots])
    lp.row_lower_ = numpy.zeros(1)
    lp.row_upper_ = numpy.zeros(1)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = numpy.arange(len(lots) + 1)
    lp.a_matrix_.index_ = numpy.zeros(len(lots), dtype=int)
    lp.a_matrix_.value_ = numpy.array([1.0 if lot.buys else -1.0 for lot in lots])
    return lp, lots, [0] * len(lots)


oracle.serve(book)
