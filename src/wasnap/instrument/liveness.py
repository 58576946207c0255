"""What is live at a function's potential sites, and which loops are polled without a poll of theirs.

Both look at the flow nodes that ``scan.py`` made: basic blocks, cut at sites.
"""

from __future__ import annotations

from wasnap.instrument.sites import CALL, INDIRECT, LOOP, TAIL, SiteScan

_COVER_SEARCH_MAX = 500
"""Flow nodes that are looked at for one loop before it is simply polled."""


def liveness(
    sites: list[SiteScan],
    gens: list[int],
    kills: list[int],
    succs: list[list[int]],
    order: list[int],
    has_loops: bool,
) -> None:
    """Backward data flow over the nodes (gen/kill, union), until nothing changes; then the
    live-out of each site's node.

    Every edge but those back to a loop's header leads to a node later in ``order``: without loops one sweep is exact,
    with them a sweep is repeated until the headers' sets are stable (about as often as loops nest).
    """
    live = [0] * len(gens)
    nodes = [(v, gens[v], ~kills[v], succs[v]) for v in reversed(order)]
    while True:
        changed = False
        for v, gen, keep, following in nodes:
            out = 0
            for s in following:
                out |= live[s]
            value = gen | (out & keep)
            if value != live[v]:
                live[v] = value
                changed = True
        if not has_loops or not changed:
            break
    for site in sites:
        if site.kind != TAIL:
            out = 0
            for s in succs[site.node]:
                out |= live[s]
            site.live = out


def cover_loops(sites: list[SiteScan], succs: list[list[int]]) -> None:
    """Find the loops of which every iteration passes a poll anyway: behind a call, or at an inner loop's header.

    Inner loops come first.  One that may itself go without a poll does not count as one for those around it.
    A call that throws skips the poll behind it: its handlers' ways are followed.
    """
    calls = {s.node: s.callee for s in sites if s.kind == CALL}
    polled: set[int] = set()  # nodes before the headers of loops that will be polled
    for site in reversed(sites):
        if site.kind != LOOP:
            continue
        header = succs[site.node][0]
        seen = {header}
        work = [header]
        called: set[int] = set()
        covered = True
        while work:
            v = work.pop()
            if v in polled:
                continue
            following = succs[v]
            callee = calls.get(v)
            if callee is not None:
                called.add(callee)
                following = following[1:]
            for w in following:
                if w == header:
                    covered = False
                elif w not in seen:
                    seen.add(w)
                    work.append(w)
            if not covered or len(seen) > _COVER_SEARCH_MAX:
                covered = False
                break
        if covered:
            called.discard(INDIRECT)
            site.cover = tuple(sorted(called))
        else:
            polled.add(site.node)
