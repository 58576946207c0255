"""A module in, a module that can be stopped anywhere out: safepoints, one-way unwinding, continuation modules.

What it is for
--------------
A running WebAssembly program keeps its call stack where no one can read it: in machine frames.  The
transform makes any core module able to write its own stack down as plain data when it is asked to,
and to go on from that data, at nearly the speed it had before, and without knowing anything of the
compiler that made it.

Earlier designs, and why each was left
--------------------------------------
*Asyncify* (Binaryen) makes every function able to unwind and to rewind itself.  The rewinding code
sits in the hot function and spoils it (3.7 to 4.4 times slower on this engine), it stops only at
calls, and a user has to run it over the binary first.  *Exceptions* for unwinding, one ``try_table``
per function, were slower than checks in code that calls much.  *A hook called from the poll* (ask,
then go on in place) spills everything that lives around the call, in the hot loop.

The idea
--------
One-way exits.  At a safepoint the code looks at a stop word and, if it is set, leaves to a cold block
at the end of the function which never comes back::

    f(x) {                                      f(x) {
      y = g(x)                                    y = g(x)
                                                  if (stop) goto cold1      // operands ride on the branch
      loop {                                      loop {
                                                    if (atomic stop) goto cold2
        ...                                         ...
      }                                           }
      return y                                    return y
    }                                           cold1: push frame {site 1, y}; return 0
                                                cold2: push frame {site 2, what is live}; return 0
                                                }

Every caller sees the stop word behind its call and does the same, until the entry returns to the
host: now the frames lie in a memory of their own, innermost first.  That is the call stack.

Going on does not run the hot function.  For each site on the stack there is a *continuation*: a
function that reads the frame, calls the next inner frame's continuation, and is then the rest of the
function behind the site (``continuation.py`` tells how it is peeled out).  Continuations live in
small modules of their own, compiled when a site is first needed and kept on disk.  At the header of
a loop that it has to enter again, a continuation writes the frame of that header and hands over to
the header's own continuation by a tail call: so a loop of an interpreter is compiled once, not once
for each of its hundreds of sites.

What is polled, and how
-----------------------
- *After every call that may end in unwinding* (``callgraph.py``) the code looks at ``wasnap.stop``, a
  global: one load from the instance.  Whoever pushes a frame sets it, so a caller cannot miss it;
  the host sets it, too, so that recursion without loops can be stopped.
- *At loop headers* it looks at word 0 of the control memory, atomically: a plain load is removed from
  a loop without stores.  A loop needs no poll if every way around it passes another one.
- *Before tail calls*: the frame is about to vanish, so what is saved is the call's arguments.

What it costs, and what the engine's register allocator punishes
----------------------------------------------------------------
Only what is live at a site is saved, by backward data flow (``liveness.py``): saving more keeps dead
values alive in the hot code.  Beyond that the cold code must be written with the allocator in mind,
since its uses of a value are uses like any other (figures: QuickJS, and the kernels, this engine):

- A value must not live across a call in cold code: it is spilled in the hot loop then (n-body 1.53x;
  with all values stored before the only call 1.00x).
- In a large function cold blocks tear holes into live ranges, and from 200 pieces on the engine no
  longer joins values at a loop's end: a dozen moves for each bytecode.  A cold block of its own for
  each site: 1.9x; sets widened by two dead locals: 2.0x.  So sites with the same set share one.
- Small sets go to helper functions as parameters, two bytes of code for each value instead of eight;
  larger ones share code along chains of subsets (SQLite 1.05x; with exact sets in dispatch loops,
  which is better for some interpreters' loops, 1.43x).
- Branch hints were tried: no effect on this engine.

Rooms
-----
``scan`` (one pass over a function), ``bytecode`` (its bytes), ``sites`` (what it finds), ``liveness``,
``callgraph`` (what may suspend; what cannot be saved), ``layout`` (frames),
``emit`` (polls, cold code), ``helpers`` (the added functions),
``transform`` (the whole module), ``continuation``, ``abi`` (names and offsets; what is kept on disk).
Layout of the control memory and the frames: ``docs/architecture.md``.

What cannot be saved
--------------------
A live external reference, and a live exception reference if some tag carries an external reference.
A site where one is live is no safepoint, and below a call that one lives across nothing may stop
(``CallGraph.guards``).  A module in which nothing could ever stop is refused by the name of the
function.  Instructions of proposals that are not in ``wasm.opcodes`` are refused by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wasnap.instrument.abi import TRANSFORM_VERSION, ProgramInfo, Site

if TYPE_CHECKING:
    from wasnap.instrument.continuation import Continuations
    from wasnap.instrument.transform import Instrumented, instrument

__all__ = [
    "TRANSFORM_VERSION",
    "Continuations",
    "Instrumented",
    "ProgramInfo",
    "Site",
    "instrument",
]


def __getattr__(name: str) -> Any:
    # A program that comes from the cache needs none of the transform: it is imported when it is used.
    if name == "Continuations":
        from wasnap.instrument.continuation import Continuations

        return Continuations
    if name in ("Instrumented", "instrument"):
        from wasnap.instrument import transform

        return getattr(transform, name)
    raise AttributeError(name)
