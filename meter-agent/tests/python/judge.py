"""Independent programs judge the device maps and their golden vectors.

The SunSpec maps are held against the Alliance's own model files (as pysunspec2 carries them): every
register, type and scale factor. The telegrams are read by smllib and dsmr-parser, and must say what
the golden vectors say. Usage: judge.py DEVICES_FOLDER
"""

import glob
import json
import os
import sys
import tomllib
from decimal import Decimal

import sunspec2
from dsmr_parser import telegram_specifications
from dsmr_parser.parsers import TelegramParser
from smllib import SmlStreamReader


def model_points(number):
    """Offset -> (name, type, scale factor) of a model, repeating groups unrolled."""
    folder = os.path.join(os.path.dirname(sunspec2.__file__), "models", "json")
    with open(os.path.join(folder, f"model_{number}.json"), encoding="utf-8") as file:
        group = json.load(file)["group"]
    points, at = {}, 0

    def walk(group):
        nonlocal at
        for point in group["points"]:
            points[at] = (point["name"], point["type"], point.get("sf"))
            at += point["size"]
        for inner in group.get("groups", []):
            for _ in range(6 if inner.get("count") in ("N", "NPrt", 0) else 1):
                walk(inner)

    walk(group)
    return points


def sunspec(folder):
    judged, problems = 0, []
    for path in sorted(glob.glob(os.path.join(folder, "*.toml"))):
        with open(path, "rb") as file:
            map_file = tomllib.load(file)
        if map_file["transport"] != "sunspec":
            continue
        blocks = list(map_file.get("block", []))
        for part in map_file.get("part", []):
            blocks += part.get("block", [])
        for block in blocks:
            for number in block.get("models") or map_file["ids"].values():
                points = model_points(number)
                offsets = {name: at for at, (name, _, _) in points.items()}
                for field in block["field"]:
                    judged += 1
                    name, kind, scale = points.get(field["at"], ("nothing", None, None))
                    kind = {"enum16": "uint16"}.get(kind, kind)
                    scale_at = offsets.get(scale) if isinstance(scale, str) else None
                    if (kind, scale_at) != (field["type"], field.get("scale_at")):
                        problems.append(
                            f"{os.path.basename(path)}: {field['key']} at {field['at']} of model "
                            f"{number}: the Alliance has {name}, {kind}, factor at {scale_at}"
                        )
    return judged, problems


def compare(path, case, told):
    """Differences between a case and canonical figures."""
    return [
        f"{os.path.basename(path)}, {case['says']}: {key} is {case['reads'].get(key)}, judged {value}"
        for key, value in told.items()
        if case["reads"].get(key) != value
    ]


def cases(folder, name):
    path = os.path.join(folder, "golden", name)
    with open(path, "rb") as file:
        return path, tomllib.load(file)["case"]


SML = {
    "0100010800ff": ("energy_import", 1000),
    "0100020800ff": ("energy_export", 1000),
    "0100100700ff": ("power", 1000),
    "0100240700ff": ("power_l1", 1000),
    "0100380700ff": ("power_l2", 1000),
    "01004c0700ff": ("power_l3", 1000),
    "0100200700ff": ("voltage_l1", 1000),
    "01001f0700ff": ("current_l1", 1000),
    "01000e0700ff": ("frequency", 1000),
}


def sml(folder):
    judged, problems = 0, []
    path, all_cases = cases(folder, "sml.toml")
    for case in all_cases:
        reader = SmlStreamReader()
        reader.add(bytes.fromhex("".join(case["hex"].split())))
        told = {}
        for entry in reader.get_frame().get_obis():
            key, factor = SML.get(str(entry.obis), (None, None))
            if key:
                exact = Decimal(entry.value) * Decimal(10) ** (entry.scaler or 0)
                told[key] = int(exact * factor)
                judged += 1
        problems += compare(path, case, told)
    return judged, problems


def dsmr(folder):
    judged, problems = 0, []
    path, all_cases = cases(folder, "dsmr-p1.toml")
    for case in all_cases:
        swedish = case["text"].startswith("/ELL5")
        kind = telegram_specifications.SWEDEN if swedish else telegram_specifications.V5
        telegram = TelegramParser(kind).parse(case["text"].replace("\n", "\r\n"))

        def milli(name, factor, telegram=telegram):
            return int(getattr(telegram, name).value * factor)

        if swedish:
            told = {
                "energy_import": milli("ELECTRICITY_IMPORTED_TOTAL", 10**6),
                "energy_export": milli("ELECTRICITY_EXPORTED_TOTAL", 10**6),
            }
        else:
            used = [milli(f"ELECTRICITY_USED_TARIFF_{n}", 10**6) for n in (1, 2)]
            fed = [milli(f"ELECTRICITY_DELIVERED_TARIFF_{n}", 10**6) for n in (1, 2)]
            told = {"energy_import": sum(used), "energy_export": sum(fed)}
        told["power"] = milli("CURRENT_ELECTRICITY_USAGE", 10**6) - milli(
            "CURRENT_ELECTRICITY_DELIVERY", 10**6
        )
        told["voltage_l1"] = milli("INSTANTANEOUS_VOLTAGE_L1", 1000)
        judged += len(told)
        problems += compare(path, case, told)
    return judged, problems


def main():
    folder, failed = sys.argv[1], False
    for judge in (sunspec, sml, dsmr):
        judged, problems = judge(folder)
        print(f"{judge.__name__}: {judged} judged, {len(problems)} wrong")
        for problem in problems:
            print(problem)
        failed = failed or judged == 0 or bool(problems)
    sys.exit(1 if failed else 0)


main()
