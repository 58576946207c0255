"""CPython guest: a little of everything an interpreter does; its output depends on every step.

usage: work.py SCALE DIRECTORY
"""

import hashlib
import json
import re
import sys
from collections.abc import Generator, Iterator


def depth(n: int) -> int:
    return 0 if n == 0 else 1 + depth(n - 1)


def primes() -> Iterator[int]:
    composites: dict[int, int] = {}
    n = 2
    while True:
        step = composites.pop(n, 0)
        if step:
            at = n + step
            while at in composites:
                at += step
            composites[at] = step
        else:
            composites[n * n] = n
            yield n
        n += 1


def pairs(source: Iterator[int]) -> Iterator[tuple[int, int]]:
    while True:
        first = next(source)
        yield first, (yield from doubled(source))


def doubled(source: Iterator[int]) -> Generator[tuple[int, int], None, int]:
    return 2 * next(source)
    yield


class Noise:
    """A linear congruential generator: the same numbers everywhere."""

    def __init__(self, seed: int) -> None:
        self.state = seed

    def __call__(self) -> int:
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return self.state >> 33


def main() -> None:
    scale, directory = int(sys.argv[1]), sys.argv[2]
    noise = Noise(7)
    digest = hashlib.sha256()
    source = primes()
    pairing = pairs(source)
    with open(f"{directory}/lines.txt", "w", encoding="ascii") as lines:
        for turn in range(scale):
            deep = depth(500)
            numbers = sorted((noise() % 100_000 for _ in range(2_000)), key=lambda n: (n % 97, -n))
            taken = [next(pairing) for _ in range(300)]
            record = {"turn": turn, "deep": deep, "first": numbers[:8], "pair": taken[-1]}
            text = json.dumps(record, sort_keys=True)
            assert json.loads(text)["first"] == numbers[:8]
            words = re.findall(r"[a-z]+|\d{3,}", text)
            try:
                raise KeyError(words[turn % len(words)])
            except KeyError as error:
                digest.update(repr(error.args).encode())
            digest.update(text.encode() + bytes(n & 0xFF for n in numbers))
            power = pow(3, 4_000 + turn) % 10**40
            print(f"{turn} {power} {digest.hexdigest()[:16]}", file=lines)
            if turn % 10 == 0:
                print(f"turn {turn}: {digest.hexdigest()[:16]}", flush=True)
    print(f"done {digest.hexdigest()}")


main()
