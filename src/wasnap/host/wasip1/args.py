"""args_* and environ_*: NUL-terminated strings in one buffer, and pointers to them.

Each function's section: https://github.com/WebAssembly/WASI/blob/wasi-0.1/preview1/docs.md#NAME
"""

from __future__ import annotations

from ..protocol import Call, Memory
from ..world import Host
from . import layout
from .abi import Ptr, SizeAt


class Args:
    """Arguments and environment. Errors: FAULT only."""

    _pointer_size = layout.POINTER_SIZE

    def __init__(self, host: Host) -> None:
        self._host = host

    def args_get(self, call: Call, argv: Ptr, argv_buf: Ptr) -> None:
        """Read the command-line arguments (sizes as ``args_sizes_get`` says).

        Writes, for arguments "a" and "bc" at argv and argv_buf::

            argv: | argv_buf | argv_buf + 2 |     argv_buf: | 'a' 0 'b' 'c' 0 |
        """
        self._write_strings(call.memory, self._host.args, argv, argv_buf)

    def args_sizes_get(self, call: Call, argc: SizeAt, argv_buf_size: SizeAt) -> None:
        """The number of arguments (u32 at argc) and the bytes of their buffer (u32)."""
        _write_sizes(call.memory, self._host.args, argc, argv_buf_size)

    def environ_get(self, call: Call, environ: Ptr, environ_buf: Ptr) -> None:
        """Read the environment, as ``args_get`` does: strings ``NAME=VALUE``."""
        self._write_strings(call.memory, self._host.env, environ, environ_buf)

    def environ_sizes_get(self, call: Call, count: SizeAt, environ_buf_size: SizeAt) -> None:
        """The number of variables (u32 at count) and bytes of their buffer (u32)."""
        _write_sizes(call.memory, self._host.env, count, environ_buf_size)

    def _write_strings(
        self, memory: Memory, strings: list[bytes], pointers: int, buffer: int
    ) -> None:
        at = buffer
        table = b""
        size = self._pointer_size
        for string in strings:
            table += (at % (1 << 8 * size)).to_bytes(size, "little")
            at += len(string) + 1
        memory.write(buffer, b"".join(string + b"\0" for string in strings))
        memory.write(pointers, table)


def _write_sizes(memory: Memory, strings: list[bytes], count: int, size: int) -> None:
    memory.set_u32(count, len(strings))
    memory.set_u32(size, sum(len(string) + 1 for string in strings))
