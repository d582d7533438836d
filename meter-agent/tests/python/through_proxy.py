"""Reads a SunSpec meter through the agent's proxy with pysunspec2 and pymodbus, and tries to write.

Arguments: port, unit, imported energy in Wh. Ends with status 0 only if both read the same truth and
every function that writes is refused.
"""

import sys

import sunspec2.modbus.client as sunspec
from pymodbus.client import ModbusTcpClient

port, unit, import_wh = (int(argument) for argument in sys.argv[1:4])

device = sunspec.SunSpecModbusClientDeviceTCP(
    slave_id=unit, ipaddr="127.0.0.1", ipport=port, timeout=10
)
device.scan()
meter = device.models[203][0]
assert meter.TotWhImp.cvalue == import_wh, meter.TotWhImp.cvalue
device.close()

client = ModbusTcpClient("127.0.0.1", port=port, timeout=10)
assert client.connect()
head = client.read_holding_registers(40000, count=2, device_id=unit).registers
assert head == [0x5375, 0x6E53], head
for refused in (
    client.write_register(40010, 1, device_id=unit),
    client.write_registers(40010, [1, 2], device_id=unit),
    client.write_coil(1, True, device_id=unit),
    client.read_coils(1, count=1, device_id=unit),
    client.mask_write_register(address=40010, device_id=unit),
):
    assert refused.isError() and refused.exception_code == 1, refused
assert client.read_holding_registers(10, count=2, device_id=unit).exception_code == 2
client.close()
print("the truth, and nothing written")
