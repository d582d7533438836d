"""ec-data-analysis: who gets whose surplus, slot by slot, by maximum flow."""

import pandas
from ec_data_analysis.ec_dataset import ECDataset

import counter


class Shared:
    """Energy given and taken per member over all slots, kWh."""

    def __init__(self, given, taken):
        self.given, self.taken = given, taken

    def json(self):
        return {"given_kwh": [float(kwh) for kwh in self.given], "taken_kwh": [float(kwh) for kwh in self.taken]}


def read(path):
    return pandas.read_csv(path)


def table(meters):
    """Two tables of kWh, a row per slot and a column per member: what leaves and what enters."""
    wide = meters.pivot(index="slot", columns="member", values=["export_wh", "import_wh"]) / 1000
    return wide["export_wh"].reset_index(drop=True), wide["import_wh"].reset_index(drop=True)


def share(tables, _):
    # The list of solutions belongs to the class: a second data set would be added to the first.
    ECDataset.marketSolutions = []
    dataset = ECDataset(tables[0], tables[1], 0.25)
    return Shared(dataset.getSellVolumePerMember, dataset.getBuyVolumePerMember)


counter.serve({"fair": (table, share)}, read)
