"""The ABI: signatures, errno numbers, and every byte that is written to guest memory."""

from __future__ import annotations

import errno
import logging
import os
import stat
import struct
from pathlib import Path

import pytest

from wasnap.host import Host, HostConfig, Mapping
from wasnap.host.wasip1.errno import WASI_ERRNO, of
from wasnap.host.wasip1.spec import ERRNO_NAMES

from .conftest import MakeGuest
from .fakes import DATA, OUT, PREVIEW1, UNSTABLE, Guest

# From the witx files: i is i32, l is i64; every function but proc_exit results in an errno (i32).
SIGNATURES = {
    "args_get": "ii",
    "args_sizes_get": "ii",
    "environ_get": "ii",
    "environ_sizes_get": "ii",
    "clock_res_get": "ii",
    "clock_time_get": "ili",
    "fd_advise": "illi",
    "fd_allocate": "ill",
    "fd_close": "i",
    "fd_datasync": "i",
    "fd_fdstat_get": "ii",
    "fd_fdstat_set_flags": "ii",
    "fd_fdstat_set_rights": "ill",
    "fd_filestat_get": "ii",
    "fd_filestat_set_size": "il",
    "fd_filestat_set_times": "illi",
    "fd_pread": "iiili",
    "fd_prestat_get": "ii",
    "fd_prestat_dir_name": "iii",
    "fd_pwrite": "iiili",
    "fd_read": "iiii",
    "fd_readdir": "iiili",
    "fd_renumber": "ii",
    "fd_seek": "ilii",
    "fd_sync": "i",
    "fd_tell": "ii",
    "fd_write": "iiii",
    "path_create_directory": "iii",
    "path_filestat_get": "iiiii",
    "path_filestat_set_times": "iiiilli",
    "path_link": "iiiiiii",
    "path_open": "iiiiillii",
    "path_readlink": "iiiiii",
    "path_remove_directory": "iii",
    "path_rename": "iiiiii",
    "path_symlink": "iiiii",
    "path_unlink_file": "iii",
    "poll_oneoff": "iiii",
    "proc_exit": "i",
    "proc_raise": "i",
    "sched_yield": "",
    "random_get": "ii",
    "sock_accept": "iii",
    "sock_recv": "iiiiii",
    "sock_send": "iiiii",
    "sock_shutdown": "ii",
}


@pytest.mark.parametrize("module", [PREVIEW1, UNSTABLE])
@pytest.mark.parametrize("name", SIGNATURES)
def test_every_function_is_there_with_the_type_of_the_specification(
    guest: Guest, module: str, name: str
) -> None:
    function = guest.host.function(module, name)
    if (module, name) == (UNSTABLE, "sock_accept"):
        assert function is None
        return
    assert function is not None
    assert function.params == bytes({"i": 0x7F, "l": 0x7E}[c] for c in SIGNATURES[name])
    assert function.results == (b"" if name == "proc_exit" else b"\x7f")


def test_an_unknown_function_of_a_wasi_module_gives_enosys_and_warns_once(
    guest: Guest, caplog: pytest.LogCaptureFixture
) -> None:
    assert guest.host.function(PREVIEW1, "sock_open") is None
    assert guest.host.function("env", "sock_open", (b"\x7f", b"\x7f")) is None
    function = guest.host.function(PREVIEW1, "sock_open", (b"\x7f\x7e", b"\x7f"))
    assert function is not None
    assert (function.params, function.results) == (b"\x7f\x7e", b"\x7f")
    with caplog.at_level(logging.WARNING, "wasnap"):
        assert function.call(guest.call, 1, 2) == ERRNO_NAMES.index("NOSYS") == 52
        assert function.call(guest.call, 1, 2) == 52
    assert [r.getMessage() for r in caplog.records] == [
        f"{PREVIEW1}.sock_open is not implemented: it gives ENOSYS"
    ]
    other = guest.host.function(PREVIEW1, "sock_accept", (b"\x7f\x7f", b"\x7f"))
    assert other is not None
    assert other.params == b"\x7f\x7f", "WasmEdge's, with two parameters"
    assert other.call(guest.call, 1, 2) == 52
    nothing = guest.host.function(PREVIEW1, "x_void", (b"", b""))
    assert nothing is not None
    assert nothing.call(guest.call) is None


def test_errno_numbers() -> None:
    assert len(ERRNO_NAMES) == 77
    assert [ERRNO_NAMES[n] for n in (0, 2, 8, 44, 58, 63, 76)] == [
        "SUCCESS",
        "ACCES",
        "BADF",
        "NOENT",
        "NOTSUP",
        "PERM",
        "NOTCAPABLE",
    ]
    assert of(OSError(errno.EOPNOTSUPP, "")) == ERRNO_NAMES.index("NOTSUP")
    assert of(OSError(errno.EWOULDBLOCK, "")) == ERRNO_NAMES.index("AGAIN")
    assert of(OSError(errno.ELOOP, "")) == ERRNO_NAMES.index("LOOP")
    assert of(OSError(9999, "")) == ERRNO_NAMES.index("IO")
    missing = {"SUCCESS", "NOTCAPABLE"}
    assert {ERRNO_NAMES[n] for n in WASI_ERRNO.values()} == set(ERRNO_NAMES) - missing


def test_args_and_environ(make_guest: MakeGuest) -> None:
    guest = make_guest(args=("a", "bc"), env={"K": "V\udcff"})
    with guest.writes((OUT, struct.pack("<II", 2, 5))):
        assert guest("args_sizes_get", OUT, OUT + 4) == "SUCCESS"
    with guest.writes((OUT, struct.pack("<II", DATA, DATA + 2)), (DATA, b"a\0bc\0")):
        assert guest("args_get", OUT, DATA) == "SUCCESS"
    with guest.writes((OUT, struct.pack("<II", 1, 5))):
        assert guest("environ_sizes_get", OUT, OUT + 4) == "SUCCESS"
    with guest.writes((OUT, struct.pack("<I", DATA)), (DATA, b"K=V\xff\0")):
        assert guest("environ_get", OUT, DATA) == "SUCCESS"


def test_prestat(guest: Guest) -> None:
    with guest.writes((OUT, struct.pack("<B3xI", 0, 4))):
        assert guest("fd_prestat_get", 3, OUT) == "SUCCESS"
    with guest.writes((OUT, b"/dir")):
        assert guest("fd_prestat_dir_name", 3, OUT, 9) == "SUCCESS"
    with guest.writes():
        assert guest("fd_prestat_dir_name", 3, OUT, 3) == "NAMETOOLONG"
        assert guest("fd_prestat_get", 4, OUT) == "BADF"
        assert guest("fd_prestat_get", 1, OUT) == "BADF"
        assert guest("fd_prestat_dir_name", 1, OUT, 9) == "NOTDIR"


def test_fdstat_and_filestat(guest: Guest, tmp_path: Path) -> None:
    fd = guest.open("f", oflags=1, fdflags=1)
    guest.write(fd, b"12345")
    os.link(tmp_path / "dir/f", tmp_path / "dir/g")
    os.utime(tmp_path / "dir/f", ns=(1_000_000_001, 2_000_000_002))
    status = os.stat(tmp_path / "dir/f")
    rights = (1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8) | (
        1 << 21 | 1 << 22 | 1 << 23 | 1 << 27
    )
    with guest.writes((OUT, struct.pack("<BxH4xQQ", 4, 1, rights, (1 << 30) - 1))):
        guest.memory.set_u8(OUT + 1, 0)
        assert guest("fd_fdstat_get", fd, OUT) == "SUCCESS"
    common = (status.st_dev, status.st_ino, 4, 2, 5, 1_000_000_001, 2_000_000_002)
    new = struct.pack("<QQB7xQQQQQ", *common, status.st_ctime_ns)
    old = struct.pack("<QQB3xIQQQQ", *common, status.st_ctime_ns)
    assert (len(new), len(old)) == (64, 56)
    for module, layout in ((PREVIEW1, new), (UNSTABLE, old)):
        guest.module = module
        with guest.writes((OUT, layout)):
            assert guest("fd_filestat_get", fd, OUT) == "SUCCESS"
        path = guest.path("f")
        with guest.writes((OUT + 64, layout)):
            assert guest("path_filestat_get", 3, 0, *path, OUT + 64) == "SUCCESS"


def test_readdir_layout(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "dir/sub").mkdir()
    own, sub = os.stat(tmp_path / "dir").st_ino, os.stat(tmp_path / "dir/sub").st_ino
    dot = struct.pack("<QQIB3x", 1, own, 1, 3) + b"."
    dots = struct.pack("<QQIB3x", 2, own, 2, 3) + b".."
    entry = struct.pack("<QQIB3x", 3, sub, 3, 3) + b"sub"
    whole = dot + dots + entry
    with guest.writes((DATA, whole), (OUT, struct.pack("<I", len(whole)))):
        assert guest("fd_readdir", 3, DATA, 4096, 0, OUT) == "SUCCESS"
    with guest.writes((DATA, whole[:60]), (OUT, struct.pack("<I", 60))):
        assert guest("fd_readdir", 3, DATA, 60, 0, OUT) == "SUCCESS"


def test_unstable_whence(guest: Guest) -> None:
    fd = guest.open("f", oflags=1)
    guest.write(fd, b"0123456789")
    guest.module = UNSTABLE
    assert guest.seek(fd, -4, 0) == 6
    assert guest.seek(fd, -1, 1) == 9
    assert guest.seek(fd, 3, 2) == 3


def test_standard_streams_tell_what_they_are(make_guest: MakeGuest, tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    master, slave = os.openpty()
    with open(tmp_path / "out", "wb") as out:
        guest = make_guest(stdin=read_end, stdout=out.fileno(), stderr=slave)
        types = []
        for fd in (0, 1, 2):
            assert guest("fd_fdstat_get", fd, OUT) == "SUCCESS"
            types.append(guest.memory.u8(OUT))
        assert types == [0, 4, 2]
        rights = guest.memory.u64(OUT + 8)
        assert not rights & (1 << 2 | 1 << 5), "a terminal is known by having no seek and no tell"
        assert guest("fd_seek", 0, 0, 1, OUT) == "SPIPE"
        assert guest("fd_seek", 2, 0, 1, OUT) == "SPIPE"
    for fd in (read_end, write_end, master, slave):
        os.close(fd)


def test_devnull_is_no_terminal(make_guest: MakeGuest) -> None:
    guest = make_guest()
    assert guest("fd_fdstat_get", 1, OUT) == "SUCCESS"
    assert guest.memory.u8(OUT) == 2
    assert guest.memory.u64(OUT + 8) & (1 << 2 | 1 << 5)


def test_a_closed_standard_stream_is_not_there(tmp_path: Path) -> None:
    host = Host(HostConfig(dirs=(Mapping(str(tmp_path), "/"),), stdin=None, stdout=9999))
    guest = Guest(host)
    assert guest("fd_fdstat_get", 0, OUT) == "BADF"
    assert guest("fd_fdstat_get", 1, OUT) == "BADF"
    assert guest.open("x", oflags=1) == 0
    assert stat.S_ISREG((tmp_path / "x").stat().st_mode)
    host.close()
