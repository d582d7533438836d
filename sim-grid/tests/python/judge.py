"""Reads simulated devices with pymodbus and pysunspec2 and compares them with what is the case.

Gets one JSON document on standard input:
{"houses": [{"customer", "host", "port", "kind", "units": {"meter": 2, ...}, "truth": {...}}]}
and ends with status 0 only if every device of every house is found complete and says the truth
within the resolution of its scale factor.
"""

import json
import sys

import sunspec2.modbus.client as sunspec
from pymodbus.client import ModbusTcpClient

problems = []
compared = 0


def near(what, found, expected, tolerance):
    global compared
    compared += 1
    if found is None or abs(found - expected) > tolerance + 1e-9:
        problems.append(f"{what}: {found} instead of {expected} (± {tolerance})")


def point(what, model, name, expected, scale=None):
    """A scaled point must be the truth within half a step of its scale factor."""
    exponent = getattr(model, scale).value if scale else 0
    near(f"{what}.{name}", getattr(model, name).cvalue, expected, 10.0**exponent / 2)


def scan(house, role):
    unit = house["units"][role]
    device = sunspec.SunSpecModbusClientDeviceTCP(
        slave_id=unit, ipaddr=house["host"], ipport=house["port"], timeout=5
    )
    device.scan()
    device.close()
    for models in device.models.values():
        for model in models if isinstance(models, list) else [models]:
            if getattr(model, "error_info", ""):
                problems.append(f"{house['customer']} {role}: {model.error_info}")
    return device, f"{house['customer']} {role}"


def check_common(what, device, serial):
    common = device.common[0]
    for name, expected in (("Mn", "Streetwatt Simulation"), ("SN", serial)):
        if expected is not None and getattr(common, name).value != expected:
            problems.append(f"{what}: {name} is {getattr(common, name).value}")


def check_meter(house):
    device, what = scan(house, "meter")
    truth = house["truth"]
    check_common(what, device, truth["meter_serial"])
    meter = device.models[203][0]
    point(what, meter, "W", truth["net_w"], "W_SF")
    point(what, meter, "VAR", truth["reactive_var"], "VAR_SF")
    point(what, meter, "PhVphA", truth["voltage_v"], "V_SF")
    point(what, meter, "PhVphC", truth["voltage_v"], "V_SF")
    point(what, meter, "Hz", 50.0, "Hz_SF")
    near(f"{what}.TotWhImp", meter.TotWhImp.cvalue, truth["import_wh"], 0)
    near(f"{what}.TotWhExp", meter.TotWhExp.cvalue, truth["export_wh"], 0)
    phases = meter.TotWhImpPhA.value + meter.TotWhImpPhB.value + meter.TotWhImpPhC.value
    near(f"{what}.TotWhImp of phases", phases, truth["import_wh"], 0)
    if meter.TotVAh_SF.value is not None:
        problems.append(f"{what}: TotVAh_SF is not implemented but has a value")


def check_inverter(house):
    device, what = scan(house, "inverter")
    truth = house["truth"]
    check_common(what, device, None)
    inverter = device.models[103][0]
    point(what, inverter, "W", truth["solar_w"], "W_SF")
    point(what, inverter, "PhVphB", truth["voltage_v"], "V_SF")
    near(f"{what}.WH", inverter.WH.cvalue, truth["produced_wh"], 0)
    nameplate = device.models[120][0]
    point(what, nameplate, "WRtg", truth["solar_rated_w"], "WRtg_SF")


def check_battery(house):
    device, what = scan(house, "battery")
    truth = house["truth"]
    battery, storage = device.models[802][0], device.models[124][0]
    capacity, measured = device.models[713][0], device.models[714][0]
    point(what, battery, "W", truth["battery_w"], "W_SF")
    point(what, battery, "SoC", truth["soc_percent"], "SoC_SF")
    point(what, battery, "WHRtg", truth["battery_wh"], "WHRtg_SF")
    point(what, storage, "ChaState", truth["soc_percent"], "ChaState_SF")
    point(what, capacity, "SoC", truth["soc_percent"], "Pct_SF")
    point(what, measured, "DCW", -truth["battery_w"], "DCW_SF")
    near(f"{what}.DCWhAbs", measured.DCWhAbs.cvalue, truth["charged_wh"], 0)
    near(f"{what}.DCWhInj", measured.DCWhInj.cvalue, truth["discharged_wh"], 0)
    near(f"{what} ports", len(measured.Prt), 1, 0)


def check_sdm630(house):
    unit, truth = house["units"]["meter"], house["truth"]
    what = f"{house['customer']} SDM630"
    client = ModbusTcpClient(house["host"], port=house["port"], timeout=5)
    client.connect()
    answer = client.read_input_registers(0, count=80, device_id=unit)

    def value(address):
        registers = answer.registers[address : address + 2]
        return client.convert_from_registers(registers, client.DATATYPE.FLOAT32)

    near(f"{what} U", value(0x00), truth["voltage_v"], 0.01)
    near(f"{what} P", value(0x34), truth["net_w"], 0.01)
    near(f"{what} import", value(0x48) * 1000, truth["import_wh"], 0.5)
    near(f"{what} export", value(0x4A) * 1000, truth["export_wh"], 0.5)
    client.close()


def check_with_pymodbus(house):
    """The raw registers, without a SunSpec library, and the refusals of the server."""
    unit, truth = house["units"]["meter"], house["truth"]
    what = f"{house['customer']} raw"
    client = ModbusTcpClient(house["host"], port=house["port"], timeout=5)
    client.connect()
    head = client.read_holding_registers(40000, count=4, device_id=unit).registers
    near(f"{what} marker", head[0] << 16 | head[1], 0x53756E53, 0)
    meter = 40002 + 2 + head[3]
    block = client.read_holding_registers(meter, count=107, device_id=unit).registers
    near(f"{what} model", block[0], 203, 0)
    near(f"{what} TotWhImp", block[46] << 16 | block[47], truth["import_wh"], 0)
    end = client.read_holding_registers(meter + 107, count=2, device_id=unit).registers
    near(f"{what} end", end[0] << 16 | end[1], 0xFFFF0000, 0)
    for problem, request, code in (
        ("beyond the end", lambda: client.read_holding_registers(meter + 108, count=2, device_id=unit), 2),
        ("a write", lambda: client.write_register(40010, 1, device_id=unit), 1),
        ("an unknown unit", lambda: client.read_holding_registers(40000, count=2, device_id=77), 11),
    ):
        answer = request()
        near(f"{what}: exception for {problem}", getattr(answer, "exception_code", None), code, 0)
    client.close()


def main():
    houses = json.load(sys.stdin)["houses"]
    for house in houses:
        if house["kind"] == "sunspec":
            check_meter(house)
            check_with_pymodbus(house)
        else:
            check_sdm630(house)
        if "inverter" in house["units"]:
            check_inverter(house)
        if "battery" in house["units"]:
            check_battery(house)
    for problem in problems:
        print(problem)
    print(f"{len(houses)} houses, {compared} values compared, {len(problems)} problems")
    sys.exit(1 if problems or not houses else 0)


main()
