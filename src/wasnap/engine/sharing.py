"""What the threads of a guest share, and which modules can have threads at all."""

from __future__ import annotations

from wasnap.engine.code import Program
from wasnap.engine.linear import Shared
from wasnap.engine.machine import Machine
from wasnap.engine.memory import GuestMemory
from wasnap.engine.objects import EngineError
from wasnap.errors import UnsupportedModule
from wasnap.wasm.types import I32, I64, FuncType


def shared_memories(program: Program) -> dict[int, GuestMemory]:
    """The shared memories that the module imports, made as it wants them."""
    found: dict[int, GuestMemory] = {}
    for i, memory in enumerate(program.info.memories):
        if memory.shared and memory.imported:
            assert memory.maximum is not None, "validation asks for one"
            try:
                shared = Shared.new(memory.minimum, memory.maximum, is64=memory.is64)
            except EngineError as error:
                raise UnsupportedModule(f"the shared memory cannot be had: {error}") from None
            found[i] = GuestMemory(shared)
    return found


def check_threads(program: Program, machine: Machine) -> None:
    """Raise UnsupportedModule if it starts threads that could not be run or saved."""
    if machine.spawns is None:
        return
    info = program.info
    if not info.memories or not all(m.shared and m.imported for m in info.memories):
        raise UnsupportedModule(
            "the module starts threads, which need an imported shared memory and no other",
            "link it with --shared-memory --import-memory",
        )
    address = I64 if info.memories[info.host_memory].is64 else I32
    if machine.signature(machine.spawns) != FuncType(bytes((I32, address)), b""):
        takes = "an i32 and an i64" if address == I64 else "two i32"
        raise UnsupportedModule(f"{machine.spawns} does not take {takes}")
    if info.guarded:
        raise UnsupportedModule(
            "the module starts threads and keeps an externref across calls: "
            "a thread that cannot be stopped would stop the others for ever"
        )
