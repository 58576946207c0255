"""Where each value lies in a frame, and which cold code stores it.

Every safepoint of a function saves a set of locals (what is live there, and the copies of outer blocks' operands) and
a list of operands.  The sets differ from site to site, so naive cold code, one block for each, nearly doubles the
module.  Here the sets of one function form a forest: the parent of a set is the largest other set that it contains.
The cold code of a set stores only what its parent's does not and then goes there:

    entry (operands, set):  push a frame, store the operands          one for each signature and set in use
    node  (set):            store the locals of set - parent          shared by its entries and children
    ...
    finish:                 complete the frame's header, return dummies

Nothing is saved that is not live.  A frame is its header, the locals (the parent's layout comes first, so that the
parent's code finds its places), then the operands, results of the call last.
"""

from __future__ import annotations

from dataclasses import dataclass

from wasnap.instrument.abi import FRAME_HEADER, SIZE_OF
from wasnap.instrument.callgraph import CallGraph
from wasnap.instrument.sites import LOOP, TAIL, Frame, FunctionScan, SiteScan

SMALL_SET_MAX = 11
"""Locals that one helper takes as parameters."""

_SEARCH_MAX = 300
"""How many smaller sets are tried as parents: bounds the time for functions with thousands of sets."""


@dataclass(slots=True)
class Node:
    """One set of locals: ``slots`` lists (local, offset) of all, ``delta`` of those that the parent does not store.

    ``size``: bytes of the header and the locals.
    """

    mask: int
    parent: Node | None
    slots: list[tuple[int, int]]
    delta: list[tuple[int, int]]
    size: int


@dataclass(slots=True)
class Group:
    """The sites with the same operands and the same set: one cold entry.

    ``size``: of the whole frame.  ``ordinal``: the site's, if there is just one; ``shared``: there are more.
    ``in_line``: its values are stored one by one, not by a helper.
    """

    operands: bytes
    node: Node
    size: int
    ordinal: int
    in_line: bool
    shared: bool = False

    def offset_of_operand(self, i: int) -> int:
        return self.node.size + sum(SIZE_OF[t] for t in self.operands[:i])


@dataclass(slots=True)
class PlannedSite:
    """A safepoint: the scan's site, its number within the function, its group.

    ``polled`` is False for a loop that needs no poll: nothing stops there, but a continuation can begin there.
    """

    scan: SiteScan
    ordinal: int
    group: Group
    polled: bool


@dataclass(slots=True)
class FunctionPlan:
    """All of one function's safepoints, in the order of the code, and its guarded calls."""

    scan: FunctionScan
    types: bytes
    """Types of all locals, with the copies."""
    sites: list[PlannedSite]
    guarded: list[SiteScan]


def plan_function(graph: CallGraph, scan: FunctionScan) -> FunctionPlan:
    """Decide which sites of the function are safepoints, and lay out their frames."""
    types = scan.locals + bytes(scan.extra_locals)
    chosen: list[tuple[int, SiteScan, int]] = []
    guarded: list[SiteScan] = []
    carried: dict[int, int] = {}
    all_saveable = not any(graph.blocked(scan, site) for site in scan.sites)
    for ordinal, site in enumerate(scan.sites):
        if not graph.calls_suspending(site):
            continue
        if graph.blocked(scan, site):
            if graph.guards(scan, site):
                guarded.append(site)
            continue
        mask = 0 if site.kind == TAIL else site.live | _copies(site.frame, carried)
        chosen.append((ordinal, site, mask))
    nodes = _forest({mask for _, _, mask in chosen}, types)
    groups: dict[tuple[bytes, int], Group] = {}
    planned = []
    for ordinal, site, mask in chosen:
        polled = not (site.kind == LOOP and all_saveable and graph.is_covered(site))
        key = (site.operands, ~mask if polled else ordinal)
        group = groups.get(key)
        if group is None:
            node = nodes[mask]
            size = node.size + sum(SIZE_OF[t] for t in site.operands)
            in_line = len(node.slots) > SMALL_SET_MAX
            group = groups[key] = Group(site.operands, node, size, ordinal, in_line)
        else:
            group.shared = True
        planned.append(PlannedSite(site, ordinal, group, polled))
    return FunctionPlan(scan, types, planned, guarded)


def _copies(frame: Frame | None, known: dict[int, int]) -> int:
    """The set of locals that hold copies of operands below ``frame`` and the blocks around it."""
    path = []
    mask = 0
    while frame is not None:
        got = known.get(id(frame))
        if got is not None:
            mask = got
            break
        path.append(frame)
        frame = frame.parent
    for frame in reversed(path):
        for local in frame.copies or ():
            mask |= 1 << local
        known[id(frame)] = mask
    return mask


def _forest(masks: set[int], types: bytes) -> dict[int, Node]:
    ordered = sorted(masks, key=lambda m: (m.bit_count(), m))
    nodes: dict[int, Node] = {}
    for i, mask in enumerate(ordered):
        parent: Node | None = None
        # Small sets are stored by helpers, as a whole.
        near = () if mask.bit_count() <= SMALL_SET_MAX else ordered[max(0, i - _SEARCH_MAX) : i]
        for candidate in reversed(near):
            if candidate.bit_count() <= SMALL_SET_MAX:
                break
            if candidate & ~mask == 0:
                parent = nodes[candidate]
                break
        size = FRAME_HEADER if parent is None else parent.size
        rest = mask if parent is None else mask & ~parent.mask
        locals_ = []
        while rest:
            locals_.append((rest & -rest).bit_length() - 1)
            rest &= rest - 1
        locals_.sort(key=lambda x: (types[x], x))  # by type: the same helpers for more sets
        delta = []
        for local in locals_:
            delta.append((local, size))
            size += SIZE_OF[types[local]]
        slots = delta if parent is None else parent.slots + delta
        nodes[mask] = Node(mask, parent, slots, delta, size)
    return nodes
