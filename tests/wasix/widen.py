"""Guests in text for ``wasix_32v1``, made into guests for ``wasix_64v1`` that do the same.

Memory gets 64-bit addresses: each address that an instruction takes is extended. What the guest
imports, a function of the text takes the place of, which extends pointers, writes structures anew as
they are there, and gives the guest what came of it as it expects it. So every guest is a guest for
both, and must do the same in both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

from wasnap.host import Host, HostConfig, wasip1
from wasnap.host.wasip1 import PREVIEW1
from wasnap.host.widths import LIBC, Widths

Node: TypeAlias = "str | list[Node]"

_MODULES: Final = ("wasix_32v1", PREVIEW1, "wasi")

_TABLE: Final = """
args_get:pp args_sizes_get:zz call_dynamic:pppppi callback_signal:pp chdir:pp clock_res_get:ip
clock_time_get:ilp clock_time_set:il closure_allocate:p closure_free:p closure_prepare:ppppppp
dl_invalid_handle:i dlopen:ppipsppp dlsym:ipppsz environ_get:pp environ_sizes_get:zz
epoll_create:p epoll_ctl:iiip epoll_wait:ipilz fd_advise:illi fd_allocate:ill fd_close:i
fd_datasync:i fd_dup:ip fd_dup2:iiip fd_event:lip fd_fdflags_get:ip fd_fdflags_set:ii
fd_fdstat_get:ip fd_fdstat_set_flags:ii fd_fdstat_set_rights:ill fd_filestat_get:ip
fd_filestat_set_size:il fd_filestat_set_times:illi fd_pipe:pp fd_pread:ipplz
fd_prestat_dir_name:ips fd_prestat_get:ip fd_pwrite:ipplz fd_read:ippz fd_readdir:ipplz
fd_renumber:ii fd_seek:ilip fd_sync:i fd_tell:ip fd_write:ippz futex_wait:pipp futex_wake:pp
futex_wake_all:pp getcwd:pn path_create_directory:ipp path_filestat_get:iippp
path_filestat_set_times:iipplli path_link:iippipp path_open:iippillip path_open2:iippilliip
path_readlink:ippppz path_remove_directory:ipp path_rename:ippipp path_symlink:ppipp
path_unlink_file:ipp poll_oneoff:ppsz port_addr_add:p port_addr_clear: port_addr_list:pp
port_addr_remove:p port_bridge:ppppi port_dhcp_acquire: port_gateway_set:p port_mac:p
port_route_add:pppp port_route_clear: port_route_list:pp port_route_remove:p port_unbridge:
proc_exec:pppp proc_exec2:pppppp proc_exec3:ppppppipp proc_exit:i proc_exit2:i proc_fork:ip
proc_fork_env:p proc_id:p proc_join:pip proc_parent:ip proc_raise:i proc_raise_interval:ili
proc_signal:ii proc_signals_get:p proc_signals_sizes_get:z proc_snapshot: proc_spawn:ppippppiiippp
proc_spawn2:ppppppppppippp random_get:pp reflect_signature:ppipip resolve:ppipsz sched_yield:
sock_accept:iip sock_accept_v2:iipp sock_addr_local:ip sock_addr_peer:ip sock_bind:ip
sock_connect:ip sock_get_opt_flag:iip sock_get_opt_size:iip sock_get_opt_time:iip
sock_join_multicast_v4:ipp sock_join_multicast_v6:ipi sock_leave_multicast_v4:ipp
sock_leave_multicast_v6:ipi sock_listen:is sock_open:iiip sock_pair:iiipp sock_recv:ippizp
sock_recv_from:ippizpp sock_send:ippiz sock_send_file:iillp sock_send_to:ippipz
sock_set_opt_flag:iii sock_set_opt_size:iil sock_set_opt_time:iip sock_shutdown:ii
sock_status:ip stack_checkpoint:pp stack_restore:pl thread_exit:i thread_id:p thread_join:i
thread_local_create:lp thread_local_destroy:i thread_local_get:ip thread_local_set:il
thread_parallelism:z thread_signal:ii thread_sleep:l thread_spawn:pp thread_spawn_v2:pp tty_get:p
tty_set:p
"""
FUNCTIONS: Final[Mapping[str, str]] = {
    name: letters for name, _, letters in (each.partition(":") for each in _TABLE.split())
}
"""What the functions of WASIX take: p a pointer, or a length in memory; n a pointer to such a length;
z a pointer to a ``size``, s a ``size``; i, l an i32, i64.

Source: https://github.com/wasix-org/wasix-witx, wasix_v1.witx, and preview1's witx; the reference
runtime for what they do not have (thread_spawn, thread_local_*, proc_fork_env, proc_exit2), and for
the maximum of epoll_wait, which it has as an i32.
"""
WITHOUT_RESULT: Final = frozenset(
    ("callback_signal", "proc_exec", "proc_exec2", "proc_exit", "proc_exit2", "stack_restore")
) | {"thread_exit"}


class _Structure(NamedTuple):
    """``fields``: where each is, in either, and what: an i32, an i64, a pointer."""

    narrow: int
    wide: int
    fields: tuple[tuple[int, int, str], ...]


_BUFFER: Final = _Structure(8, 16, ((0, 0, "p"), (4, 8, "p")))
_EVENT: Final = _Structure(
    32, 32, ((0, 0, "i"), (8, 8, "p"), (12, 16, "i"), (16, 20, "i"), (24, 24, "l"))
)
_FD_OP: Final = _Structure(
    56,
    64,
    (
        *((0, 0, "l"), (8, 8, "i"), (12, 16, "p"), (16, 24, "p"), (20, 32, "i"), (24, 36, "i")),
        *((32, 40, "l"), (40, 48, "l"), (48, 56, "i")),
    ),
)
_GIVEN: Final = {
    **dict.fromkeys(("fd_read", "fd_write", "fd_pread", "fd_pwrite"), (1, "local.get 2", _BUFFER)),
    **dict.fromkeys(("sock_recv", "sock_send"), (1, "local.get 2", _BUFFER)),
    **dict.fromkeys(("sock_recv_from", "sock_send_to"), (1, "local.get 2", _BUFFER)),
    "proc_spawn2": (6, "local.get 7", _FD_OP),
    "epoll_ctl": (3, "i32.const 1", _EVENT),
}
"""Functions that have so many structures at this argument."""
_TAKEN: Final = {"epoll_wait": (1, "i32.load (local.get 4)", _EVENT)}
"""And that write them."""
_ROOM: Final = 512
"""Bytes of a call: numbers that are written, and from ``_ARRAY`` on structures."""
_ARRAY: Final = 128


def types(name: str, widths: Widths) -> bytes:
    """Its parameters."""
    return _types(FUNCTIONS[name], widths)


def _types(letters: str, widths: Widths) -> bytes:
    address = b"\x7f" if widths.pointer == 4 else b"\x7e"
    size = b"\x7f" if widths.size == 4 else b"\x7e"
    value = {"i": b"\x7f", "l": b"\x7e", "s": size}
    return b"".join(value.get(letter, address) for letter in letters)


def widened(text: str, widths: Widths) -> str:
    """A guest's text, made one for ``wasix_64v1`` as it is with these widths."""
    nodes = _parsed(text)
    pages = 0
    fields: list[Node] = []
    for node in nodes:
        made, minimum = _field(node, widths)
        pages = max(pages, minimum)
        fields += made
    room = f"(global $room (mut i32) (i32.const {pages << 16}))"
    imports = [n for n in fields if _head(n) == "import"]
    rest = [n for n in fields if _head(n) != "import"]
    return "\n".join([*map(_text, imports), room, _SMALL, *map(_text, rest)])


# -- fields ---------------------------------------------------------------------------------------


def _field(node: Node, widths: Widths) -> tuple[list[Node], int]:
    """What stands for it, and how many pages of memory it says there are."""
    assert isinstance(node, list)
    kind = _head(node)
    if kind == "import":
        module, name, what = str(node[1])[1:-1], str(node[2])[1:-1], node[3]
        if _head(what) == "memory":
            assert isinstance(what, list)
            memory, pages = _memory(what)
            return [[*node[:3], memory]], pages
        if module in _MODULES:
            return _import(module, name, what, widths), 0
        return [node], 0
    if kind == "memory":
        memory, pages = _memory(node)
        return [memory], pages
    if kind == "data" and len(node) > 1 and _head(node[1]) == "i32.const":
        return [["data", ["i64.const", node[1][1]], *node[2:]]], 0
    if kind == "global" and ["export", '"__stack_pointer"'] in node:
        return [_parsed(_text(node).replace("i32", "i64"))[0]], 0
    if kind == "func" and ["export", '"wasi_thread_start"'] in node:
        plain = [each for each in node if each != ["export", '"wasi_thread_start"']]
        if not (isinstance(plain[1], str) and plain[1].startswith("$")):
            plain.insert(1, "$thread")
        begin = f"""(func (export "wasi_thread_start") (param i32 i64)
          (global.set $room
            (i32.add (global.get $room) (i32.mul (local.get 0) (i32.const {2 * _ROOM}))))
          (call {plain[1]} (local.get 0) (i32.wrap_i64 (local.get 1))))"""
        return [_code(plain), *_parsed(begin)], 0
    return [_code(node)], 0


def _memory(node: list[Node]) -> tuple[Node, int]:
    """With 64-bit addresses, and one page more."""
    first = next(i for i, each in enumerate(node) if isinstance(each, str) and each.isdigit())
    limits = [str(int(n) + 1) if n.isdigit() else n for n in map(str, node[first:])]
    return [*node[:first], "i64", *limits], int(str(node[first]))


def _import(module: str, name: str, what: Node, widths: Widths) -> list[Node]:
    """The wide function, and the one that is called instead."""
    assert isinstance(what, list)
    called = str(what[1])
    wide = f"{called}.wide"
    letters = "p" if module == "wasi" else FUNCTIONS[name]
    types_ = " ".join("i32" if t == 0x7F else "i64" for t in _types(letters, widths))
    result = "" if name in WITHOUT_RESULT else "(result i32)"
    of = module if module == "wasi" or (module, widths) == (PREVIEW1, LIBC) else "wasix_64v1"
    narrow = " ".join("i64" if letter == "l" else "i32" for letter in letters)
    before, after, arguments = [], [], []
    for i, letter in enumerate(letters):
        here = f"(i32.add (local.get $s) (i32.const {8 * i}))"
        if letter in "il" or (letter == "s" and widths.size == 4):
            arguments.append(f"(local.get {i})")
        elif letter in "ps":
            arguments.append(f"(i64.extend_i32_u (local.get {i}))")
        else:
            arguments.append(f"(i64.extend_i32_u {here})")
            if letter == "n":
                before.append(f"(i64.store {here} (i64.load32_u (local.get {i})))")
            load = "i64.load32_u" if letter == "z" and widths.size == 4 else "i64.load"
            after.append(f"(i64.store32 (local.get {i}) (call $small ({load} {here})))")
    room = f"(i32.add (local.get $s) (i32.const {_ARRAY}))"
    if name in _GIVEN:
        at, count, kind = _GIVEN[name]
        arguments[at] = f"(i64.extend_i32_u {room})"
        copies = [_copied(*field) for field in kind.fields]
        before.append(_each(count, copies, f"local.get {at}", kind.narrow, room, kind.wide))
    if name in _TAKEN:
        at, count, kind = _TAKEN[name]
        arguments[at] = f"(i64.extend_i32_u {room})"
        copies = [_copied(*field, back=True) for field in kind.fields]
        after.append(_each(count, copies, room[1:-1], kind.wide, f"(local.get {at})", kind.narrow))
    call = f"(call {wide} {' '.join(arguments)})"
    if result:
        done = f"(if (i32.eqz (local.get $error)) (then {' '.join(after)}))" if after else ""
        call = f"(local.set $error {call}) {done}"
    leave = "(global.set $room (local.get $s))"
    text = f"""
      (import "{of}" "{name}" (func {wide} (param {types_}) {result}))
      (func {called} (param {narrow}) {result} (local $s i32) (local $error i32) (local $i i32)
        (local $from i32) (local $to i32)
        (local.set $s (global.get $room))
        (global.set $room (i32.add (local.get $s) (i32.const {_ROOM})))
        {" ".join(before)}
        {call}
        {leave}
        {"(local.get $error)" if result else ""})"""
    return [_code(node) for node in _parsed(text)]


_SMALL: Final = """
  (func $small (param i64) (result i64)
    (if (i64.gt_u (local.get 0) (i64.const 0xFFFFFFFF)) (then unreachable))
    (local.get 0))"""


def _copied(narrow: int, wide: int, what: str, *, back: bool = False) -> str:
    """One field from ``$from`` to ``$to``."""
    if back:
        load = {"i": "i32.load", "l": "i64.load", "p": "i64.load"}[what]
        value = f"({load} offset={wide} (local.get $from))"
        value = f"(call $small {value})" if what == "p" else value
        store = {"i": "i32.store", "l": "i64.store", "p": "i64.store32"}[what]
        return f"({store} offset={narrow} (local.get $to) {value})"
    load = {"i": "i32.load", "l": "i64.load", "p": "i64.load32_u"}[what]
    store = "i32.store" if what == "i" else "i64.store"
    return f"({store} offset={wide} (local.get $to) ({load} offset={narrow} (local.get $from)))"


def _each(count: str, copies: list[str], source: str, step: int, to: str, step_to: int) -> str:
    """Code that writes an array of structures anew."""
    return f"""
      (local.set $i (i32.const 0))
      (local.set $from ({source}))
      (local.set $to {to})
      (block $done (loop $next
        (br_if $done (i32.ge_u (local.get $i) ({count})))
        {" ".join(copies)}
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (local.set $from (i32.add (local.get $from) (i32.const {step})))
        (local.set $to (i32.add (local.get $to) (i32.const {step_to})))
        (br $next)))"""


# -- code -----------------------------------------------------------------------------------------

_POINTER: Final = "$sp"
"""What a guest calls its stack pointer."""
_ACCESS: Final = re.compile(r"(i32|i64|f32|f64|v128)\.(atomic\.)?(load|store|rmw)|memory\.atomic\.")


def _code(node: Node) -> Node:
    """An instruction, or what has some in it, with wide addresses."""
    if isinstance(node, str):
        return node
    made = [_code(each) for each in node]
    head = _head(node)
    if _ACCESS.match(head):
        first = next(i for i, each in enumerate(made) if isinstance(each, list))
        made[first] = ["i64.extend_i32_u", made[first]]
    elif head in ("memory.fill", "memory.copy"):
        for i in (1, 2, 3) if head == "memory.copy" else (1, 3):
            made[i] = ["i64.extend_i32_u", made[i]]
    elif head == "global.get" and node[1] == _POINTER:
        return ["i32.wrap_i64", made]
    elif head == "global.set" and node[1] == _POINTER:
        return ["global.set", _POINTER, ["i64.extend_i32_u", made[2]]]
    elif head == "memory.grow":
        return ["i32.wrap_i64", ["memory.grow", ["i64.extend_i32_u", made[1]]]]
    elif head == "memory.size":
        return ["i32.wrap_i64", made]
    return made


# -- text -----------------------------------------------------------------------------------------

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|;;[^\n]*|\(;.*?;\)|[()]|[^\s()";]+', re.DOTALL)


def _parsed(text: str) -> list[Node]:
    stack: list[list[Node]] = [[]]
    for token in _TOKEN.findall(text):
        if token.startswith((";;", "(;")):
            continue
        if token == "(":
            stack.append([])
        elif token == ")":
            done = stack.pop()
            stack[-1].append(done)
        else:
            stack[-1].append(token)
    assert len(stack) == 1
    return stack[0]


def _text(node: Node) -> str:
    return node if isinstance(node, str) else f"({' '.join(map(_text, node))})"


def _head(node: Node) -> str:
    return node[0] if isinstance(node, list) and node and isinstance(node[0], str) else ""


def for_libc(text: str) -> str:
    """A guest as wasix-libc would make it: it has preview1's functions from preview1's module."""
    host = Host(HostConfig())
    for name in wasip1.functions(host, PREVIEW1).keys() - {"proc_raise"}:  # it raises otherwise
        text = text.replace(f'"wasix_32v1" "{name}"', f'"{PREVIEW1}" "{name}"')
    host.close()
    return widened(text, LIBC)
