"""HiGHS as an oracle: runs a linear program whose first columns are lots, with and without presolve."""

import highspy

import counter


def serve(book, read=counter.read):
    """Answers for programs of `book`, which returns one with its lots and each lot's balance row."""

    def with_presolve(choice):
        def clear(orders, count):
            lp, lots, rows = orders
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
            for lot, row, kwh in zip(lots, rows, solution.col_value):
                outcome.add(lot.id, kwh, abs(solution.row_dual[row]))
            return outcome

        return book, clear

    counter.serve({"default": with_presolve("choose"), "no presolve": with_presolve("off")}, read)
