"""An independent Modbus server for the agent's lines: pymodbus, which stalls now and then.

Arguments: framing ("tcp" or "rtu"), answers between two stalls (0 = none), length of a stall in
milliseconds. Prints the port once it listens, and serves until it is killed. Input register A of unit U
holds (A * 5 + U * 256 + 4) modulo 65536, as in the tests' own gateway.
"""

import asyncio
import socket
import sys
import time

from pymodbus import FramerType
from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
from pymodbus.server import ModbusTcpServer

framing, every, stall_ms = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
answers = 0


def stall(sending, pdu):
    global answers
    if sending:
        answers += 1
        if every and answers % every == 0:
            time.sleep(stall_ms / 1000)
    return pdu


def device(unit):
    words = [(address * 5 + unit * 256 + 4) % 65536 for address in range(2000)]
    return ModbusDeviceContext(ir=ModbusSequentialDataBlock(1, words))


async def main():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    devices = {unit: device(unit) for unit in (1, 2, 3)}
    server = ModbusTcpServer(
        ModbusServerContext(devices=devices, single=False),
        framer=FramerType.RTU if framing == "rtu" else FramerType.SOCKET,
        address=("127.0.0.1", port),
        trace_pdu=stall,
    )
    serving = asyncio.create_task(server.serve_forever())
    await asyncio.sleep(0)
    while not server.is_active() if hasattr(server, "is_active") else server.transport is None:
        await asyncio.sleep(0.005)
    print(port, flush=True)
    await serving


asyncio.run(main())
