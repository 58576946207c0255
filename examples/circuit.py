"""Write a netlist for nextpnr: logic cells with registers, wired at random but near each other.

    python examples/circuit.py CELLS > circuit.json

The format is that of ``yosys write_json``: bits are numbers, and each cell says which bit goes to
which of its pins. The same number of cells always gives the same circuit.
"""

from __future__ import annotations

import json
import random
import sys

INPUTS = {"I0": "input", "I1": "input", "I2": "input", "I3": "input"}
CLOCK, FIRST = 2, 100


def cell(kind: str, ports: dict[str, str], wires: dict[str, int], **parameters: str) -> object:
    """One cell; ``wires`` gives the bit on each pin."""
    return {
        "hide_name": 0,
        "type": kind,
        "parameters": parameters,
        "attributes": {},
        "port_directions": ports,
        "connections": {pin: [bit] for pin, bit in wires.items()},
    }


def circuit(size: int) -> object:
    """A ring of ``size`` registers: each takes a function of four neighbours; eight are outputs."""
    noise = random.Random(size)
    cells = {}
    for i in range(size):
        state, following = FIRST + 2 * i, FIRST + 2 * i + 1
        near = [FIRST + 2 * ((i + step) % size) for step in noise.sample(range(-20, 21), 4)]
        truth = format(noise.getrandbits(16) | 0x8001, "016b")
        wires = {**dict(zip(INPUTS, near, strict=True)), "O": following}
        cells[f"lut{i}"] = cell("SB_LUT4", {**INPUTS, "O": "output"}, wires, LUT_INIT=truth)
        ports = {"C": "input", "D": "input", "Q": "output"}
        cells[f"reg{i}"] = cell("SB_DFF", ports, {"C": CLOCK, "D": following, "Q": state})
    leds = [FIRST + 2 * (i * size // 8) for i in range(8)]
    module = {
        "attributes": {"top": "1".zfill(32)},
        "ports": {
            "clk": {"direction": "input", "bits": [CLOCK]},
            "led": {"direction": "output", "bits": leds},
        },
        "cells": cells,
        "netnames": {"clk": {"hide_name": 0, "bits": [CLOCK], "attributes": {}}},
    }
    return {"creator": "examples/circuit.py", "modules": {"top": module}}


if __name__ == "__main__":
    json.dump(circuit(int(sys.argv[1])), sys.stdout)
