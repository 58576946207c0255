# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""MicroPython guest: recursion, generators, exceptions, a sort, json, hashlib, lines to a file.

usage: micro.py SCALE DIRECTORY

This build's collector does not see what lives in wasm locals and frees it, so it is switched off:
the work is done in place and a turn makes little garbage.
"""

import gc
import hashlib
import json
import sys
from array import array


def depth(n):
    return 0 if n == 0 else 1 + depth(n - 1)


def queens(rows, columns, left, right):
    if rows == 0:
        return 1
    count = 0
    free = 0xFF & ~(columns | left | right)
    while free:
        place = free & -free
        free ^= place
        count += queens(rows - 1, columns | place, (left | place) << 1, (right | place) >> 1)
    return count


def numbers(state):
    while True:
        state = (state * 171 + 11213) % 53125
        yield state


def fill(values, source):
    for i in range(len(values)):
        values[i] = next(source)


def sort(values):
    gap = len(values)
    swapped = True
    while gap > 1 or swapped:
        gap = max(1, gap * 10 // 13)
        swapped = False
        for i in range(len(values) - gap):
            if values[i] > values[i + gap]:
                values[i], values[i + gap] = values[i + gap], values[i]
                swapped = True


def main():
    source = numbers(7)
    values = array("i", [0] * 400)
    digest = b""
    with open(sys.argv[2] + "/lines.txt", "w") as lines:
        for turn in range(int(sys.argv[1])):
            fill(values, source)
            sort(values)
            text = json.dumps([turn, depth(60), queens(8, 0, 0, 0), list(values[:8])])
            assert json.loads(text)[3][7] == values[7]
            try:
                raise KeyError(text[turn % len(text)])
            except KeyError as error:
                text += repr(error)
            digest = hashlib.sha256(digest + text.encode()).digest()
            lines.write(f"{turn} {digest.hex()}\n")
            if turn % 10 == 0:
                print(f"turn {turn}: {digest.hex()[:16]}")
    print("done", digest.hex())


gc.disable()
main()
