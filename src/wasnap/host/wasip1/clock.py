"""clock_*: time in nanoseconds.

Each function's section: https://github.com/WebAssembly/WASI/blob/wasi-0.1/preview1/docs.md#NAME
"""

from __future__ import annotations

from ..protocol import OUTSIDE, Call
from ..world import Host
from . import errno, spec
from .abi import I32, I64, Ptr


class Clock:
    """Reading clocks. Errors: INVAL for a clock that does not exist, FAULT."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def clock_res_get(self, call: Call, id: I32, resolution: Ptr) -> None:
        """The resolution of a clock: u64 ns at resolution."""
        if id > spec.CLOCKID_THREAD_CPUTIME_ID:
            raise errno.invalid("clock id")
        call.memory.set_u64(resolution, self._host.clock.resolution())

    def clock_time_get(self, call: Call, id: I32, precision: I64, time: Ptr) -> None:
        """The time of a clock: u64 ns at time. ``precision`` (ns of lag allowed) is not needed."""
        call.about_to(OUTSIDE)
        clock = self._host.clock
        if id == spec.CLOCKID_MONOTONIC:
            now = clock.monotonic()
        elif id == spec.CLOCKID_REALTIME:
            now = clock.realtime()
        elif id == spec.CLOCKID_PROCESS_CPUTIME_ID:
            now = clock.cpu()
        elif id == spec.CLOCKID_THREAD_CPUTIME_ID:
            now = clock.thread_cpu()
        else:
            raise errno.invalid("clock id")
        call.memory.set_u64(time, now)
