"""HiGHS as an oracle: the welfare problem as a linear program with one balance row."""

import highspy
import numpy

import counter


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
    return lp, [lot.id for lot in lots]


def with_presolve(choice):
    def clear(orders, count):
        lp, ids = orders
        highs = highspy.Highs()
        highs.setOptionValue("output_flag", False)
        highs.setOptionValue("threads", 1)
        highs.setOptionValue("presolve", choice)
        highs.passModel(lp)
        highs.run()
        status = highs.getModelStatus()
        if status != highspy.HighsModelStatus.kOptimal:
            raise RuntimeError(f"ends as {highs.modelStatusToString(status)}")
        solution = highs.getSolution()
        outcome = counter.Outcome(count)
        for lot, kwh in zip(ids, solution.col_value):
            outcome.add(lot, kwh, abs(solution.row_dual[0]))
        return outcome

    return book, clear


counter.serve({"default": with_presolve("choose"), "no presolve": with_presolve("off")})
