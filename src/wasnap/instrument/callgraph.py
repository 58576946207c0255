"""Which calls can end in unwinding: the sites that become safepoints, and the calls that must not be stopped below.

A function *may suspend* if it has a safepoint of its own (a polled loop), or calls something that may: an import, a
function found at run time, or a defined function that may suspend.  A cycle of calls without any loop in it (a plain
recursive function) never ends by itself either, so all functions of such a cycle may suspend, too.  All others stay
byte for byte as they were, and calls to them are no sites.

A value of an unsaveable type (an external reference; an exception reference if some tag carries an external reference)
that lives across a call makes the call *guarded*: it is no site, and nothing below it may stop.
"""

from __future__ import annotations

from collections.abc import Iterator

from wasnap.errors import UnsupportedModule
from wasnap.instrument.sites import CALL, INDIRECT, TAIL, FunctionScan, ModuleFacts, SiteScan
from wasnap.wasm.types import EXNREF, EXTERNREF, VALUE_TYPE_NAMES


class CallGraph:
    """What may suspend: ``suspends[f]`` is 1 if a call to function f can end in unwinding."""

    def __init__(self, unsaveable: frozenset[int], suspends: bytes, guarded: bool) -> None:
        self.unsaveable = unsaveable
        self.suspends = suspends
        self.guarded = guarded

    @classmethod
    def known(cls, facts: ModuleFacts, suspends: bytes, guarded: bool) -> CallGraph:
        """The graph of a module that was analysed before, from what was kept of it."""
        return cls(_unsaveable(facts), suspends, guarded)

    @classmethod
    def analyse(cls, facts: ModuleFacts, scans: list[FunctionScan]) -> CallGraph:
        """The graph of a whole module from the scans of all its functions."""
        self = cls(_unsaveable(facts), b"", False)
        n_imported = facts.n_imported
        suspends = bytearray(len(facts.function_types))
        for i in range(n_imported):
            suspends[i] = 1
        callers: dict[int, list[int]] = {}
        callees: dict[int, list[int]] = {}
        work: list[int] = list(range(n_imported))
        for scan in scans:
            index = scan.index
            own = False
            called: list[int] = []
            for site in scan.sites:
                kind = site.kind
                if kind != TAIL and self.blocked(scan, site):
                    continue
                callee = site.callee
                if callee == INDIRECT:  # a loop, or a function found at run time
                    own = True
                else:
                    called.append(callee)
            if own:
                suspends[index] = 1
                work.append(index)
            else:
                callees[index] = called
            for callee in called:
                callers.setdefault(callee, []).append(index)
        _spread(suspends, callers, work)
        # What is left calls only what does not suspend: cycles among it are recursion without a loop.
        rest = {
            f: [c for c in cs if not suspends[c]] for f, cs in callees.items() if not suspends[f]
        }
        cyclic = list(_in_cycles(rest))
        for f in cyclic:
            suspends[f] = 1
        _spread(suspends, callers, cyclic)
        self.suspends = bytes(suspends)
        self.guarded = any(self.guards(scan, site) for scan in scans for site in scan.sites)
        return self

    def blocked(self, scan: FunctionScan, site: SiteScan) -> bool:
        """True if a value that cannot be saved is live at the site."""
        return self.culprit(scan, site) is not None

    def culprit(self, scan: FunctionScan, site: SiteScan) -> int | None:
        """The type of an unsaveable value that is live at the site, or None."""
        for t in site.operands:
            if t in self.unsaveable:
                return t
        if site.kind == TAIL:
            return None
        if site.results:
            for t in site.results:
                if t in self.unsaveable:
                    return t
        frame = site.frame
        while frame.parent is not None:
            for t in frame.below:
                if t in self.unsaveable:
                    return t
            frame = frame.parent
        live = site.live
        types = scan.locals
        if EXTERNREF in types or EXNREF in types:
            for i, t in enumerate(types):
                if live >> i & 1 and t in self.unsaveable:
                    return t
        return None

    def calls_suspending(self, site: SiteScan) -> bool:
        """True if what the site calls (or the loop it heads) can end in unwinding."""
        return site.callee == INDIRECT or bool(self.suspends[site.callee])

    def is_covered(self, site: SiteScan) -> bool:
        """True for a loop that needs no poll, since every way around it passes another one."""
        return site.cover is not None and all(self.suspends[f] for f in site.cover)

    def is_safepoint(self, scan: FunctionScan, site: SiteScan) -> bool:
        return self.calls_suspending(site) and not self.blocked(scan, site)

    def guards(self, scan: FunctionScan, site: SiteScan) -> bool:
        """True for a call below which nothing may stop."""
        return site.kind == CALL and self.calls_suspending(site) and self.blocked(scan, site)

    def refuse_if_never_stoppable(self, scans: list[FunctionScan], names: dict[int, str]) -> None:
        """Raise UnsupportedModule if there are sites but not one of them can be a safepoint."""
        first: tuple[FunctionScan, int] | None = None
        for scan in scans:
            for site in scan.sites:
                culprit = self.culprit(scan, site)
                if culprit is None:
                    if self.calls_suspending(site):
                        return
                elif first is None:
                    first = (scan, culprit)
        if first is not None:
            scan, culprit = first
            name = names.get(scan.index, f"#{scan.index}")
            raise UnsupportedModule(
                f"the module can never be stopped: function {name} keeps a live {VALUE_TYPE_NAMES[culprit]}"
                " at every place where it could",
                "wasnap cannot save external references; keep them out of loops and calls",
            )


def _unsaveable(facts: ModuleFacts) -> frozenset[int]:
    """The types whose values cannot be saved in this module."""
    types = facts.module.types
    if any(EXTERNREF in types[t].params for t in facts.module.tag_space()):
        return frozenset((EXTERNREF, EXNREF))
    return frozenset((EXTERNREF,))


def _spread(suspends: bytearray, callers: dict[int, list[int]], work: list[int]) -> None:
    while work:
        for caller in callers.get(work.pop(), ()):
            if not suspends[caller]:
                suspends[caller] = 1
                work.append(caller)


def _in_cycles(graph: dict[int, list[int]]) -> Iterator[int]:
    """The nodes that lie on a cycle of ``graph``: Tarjan's strongly connected components, without recursion."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    on_stack: set[int] = set()
    stack: list[int] = []
    for root in graph:
        if root in index:
            continue
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        path = [(root, iter(graph[root]))]
        while path:
            v, successors = path[-1]
            for w in successors:
                if w not in index:
                    index[w] = low[w] = len(index)
                    stack.append(w)
                    on_stack.add(w)
                    path.append((w, iter(graph.get(w, ()))))
                    break
                if w in on_stack:
                    low[v] = min(low[v], index[w])
            else:
                path.pop()
                if path:
                    parent = path[-1][0]
                    low[parent] = min(low[parent], low[v])
                if low[v] == index[v]:
                    component = []
                    while True:
                        w = stack.pop()
                        on_stack.discard(w)
                        component.append(w)
                        if w == v:
                            break
                    if len(component) > 1 or v in graph.get(v, ()):
                        yield from component
