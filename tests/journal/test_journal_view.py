"""``wasnap journal inspect``: what people and programs see, of whole and of damaged journals."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from journal.helpers import add, make, page, scanned, three_snapshots
from wasnap.cli.journal import journal as command
from wasnap.errors import JournalError, NoSuchSnapshot
from wasnap.journal import (
    Frame,
    Global,
    HostRecord,
    Journal,
    PendingCall,
    StackRecord,
    StartRecord,
)
from wasnap.journal.layout import Kind
from wasnap.journal.tools.words import printable, size_text, time_text


def inspect(path: Path, *options: str) -> str:
    """The command's output; the file must not have changed."""
    before = path.read_bytes()
    result = CliRunner().invoke(command, ["inspect", str(path), *options], catch_exceptions=False)
    assert result.exit_code == 0
    assert path.read_bytes() == before
    return result.output


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TZ", "UTC")
    return tmp_path / "j"


def rich(path: Path) -> None:
    """One snapshot with everything in it."""
    with make(path) as journal, journal.begin(None, "sigint", label="deep one") as writer:
        frames = [Frame(1, 12, 0x345), *[Frame(7, 3, 0x40)] * 5000, Frame(9, 4, -1)]
        frames += [Frame(at % 5, at % 7, -1) for at in range(300)]
        scattered = [
            (3, page("x") * 10),
            (14, page("y")),
            *((40 + 2 * i, page("z")) for i in range(30)),
        ]
        writer.memory(0, 128, 4096, scattered)
        writer.memory(1, 16, 4096, [], is64=True)
        pending = PendingCall(
            module="wasi_snapshot_preview1",
            name="poll_oneoff",
            args=[1, 2.5, bytes(16)],
            progress={"deadline_ns": 123},
        )
        writer.record(
            StackRecord(
                transform=1,
                data=bytes(1000),
                frames_base=16,
                fp=1016,
                frames=frames,
                names={12: "py_\x1b[31meval", 3: "fib"},
                globals=[
                    Global(0, "__stack_pointer", "i32", 66560),
                    Global(1, "", "f64", math.nan),
                    Global(2, "handler\x07", "funcref", -1),
                    Global(5, "v", "v128", bytes(range(16))),
                ],
                pending=pending,
            )
        )
        place = {"guest": "/data", "path": b"sub dir/x"}
        access = {"readable": True, "writable": False, "rights": 77}
        state = {
            "descriptors": [
                {"type": "stream", "number": 0, "name": "stdin", "offset": None},
                {"type": "directory", "number": 3, "place": place | {"path": b"."}},
                {"type": "file", "number": 12, "place": place, "access": access, "offset": 5},
                {"type": "new\x1b", "peers": [1, 2], "secret": bytes([255] * 40)},
            ],
            "fds": {3: {"path": "/data/x y", "offset": 12}, 4: None},
            "random": b"\x00\x01",
            "list": [{"a": 1}, {"a": [1, 2]}],
            "empty": {},
        }
        writer.record(HostRecord(state=state))
        writer.commit()


def test_overview(path: Path) -> None:
    """Header and a tree in which a line of descent keeps its column."""
    with make(path) as journal:
        for parent, tag in [(None, "one"), (1, ""), (2, ""), (1, "try again"), (4, ""), (4, "")]:
            add(journal, parent, {1: page("c")}, tag=tag)
    time = "2023-11-14 22:13:20+00:00  timer"
    assert inspect(path).splitlines() == [
        f"{path}: journal 1.0, 29.7 KiB",
        "  module   a.wasm  8 bytes  sha256 000102030405",
        '  args     a.wasm "two words"',
        "  made by  wasnap 0.1.0, 1970-01-01 00:00:00+00:00",
        "  6 snapshots",
        f"    1        {time}     4.9 KiB         1 page   one",
        f"    ├─ 2     {time}     4.9 KiB         1 page",
        f"    │  3     {time}     4.9 KiB         1 page",
        f'    └─ 4     {time}     4.9 KiB         1 page   "try again"',
        f"       ├─ 5  {time}     4.9 KiB         1 page",
        f"       └─ 6  {time}     4.9 KiB         1 page",
    ]


def test_one_snapshot(path: Path) -> None:
    """Innermost frame first, the pending call, memories, host state; nothing reaches the terminal
    unescaped, and a deep recursion is not 5,000 lines."""
    rich(path)
    lines = inspect(path, "--at", "1").splitlines()
    assert lines[:9] == [
        f"snapshot 1 of {path}",
        '  2023-11-14 22:13:20+00:00  sigint  "deep one"',
        "  after the start, 188.1 KiB in the journal",
        "thread 0, 5302 frames",
        "  waits in wasi_snapshot_preview1.poll_oneoff"
        f"(1, 2.5, <16 bytes {'00' * 16}>)  [deadline_ns=123]",
        "  #0     py_\\x1b[31meval  (function 12, site 1, module byte 0x345)",
        "  #1     fib  (function 3, site 7, module byte 0x40)",
        "         ... 4,999 more of the same",
        "  #5001  function 4  (site 9)",
    ]
    assert "         ... 224 lines left out (--json has all)" in lines
    at = lines.index("  #5301  function 5  (site 4)")
    assert lines[at + 1 : at + 9] == [
        "  global __stack_pointer: i32 66560 (0x10400)",
        "  global 1: f64 nan",
        "  global handler\\x07: funcref -1",
        "  global v: v128 <16 bytes 000102030405060708090a0b0c0d0e0f>",
        "memory 0: 512.0 KiB, 164.0 KiB of it not zero, in 32 extents",
        "  0x00003000 to 0x0000cfff    40.0 KiB",
        "  0x0000e000 to 0x0000efff     4.0 KiB",
        "  0x00028000 to 0x00028fff     4.0 KiB",
    ]
    assert lines[-20:] == [
        "  0x00052000 to 0x00062fff    68.0 KiB  36.0 KiB of it",
        "64-bit memory 1: 64.0 KiB, 0 bytes of it not zero, in 0 extents",
        "4 open files",
        "    0  stream    stdin",
        "    3  directory /data",
        '   12  file      "/data/sub dir/x" readable offset=5',
        "    ?  new\\x1b   peers=[2] secret=<40 bytes " + "ff" * 32 + "...>",
        "host",
        "  fds:",
        "    3:",
        '      path: "/data/x y"',
        "      offset: 12",
        "    4: -",
        "  random: <2 bytes 0001>",
        "  list:",
        "    -",
        "      a: 1",
        "    -",
        "      a: 1 2",
        "  empty: {}",
    ]


def test_json(path: Path) -> None:
    rich(path)
    overview = json.loads(inspect(path, "--json"))
    assert overview["snapshots"][0]["trigger"] == "sigint"
    assert overview["start"]["args"] == ["a.wasm", "two words"]
    assert (overview["tail"], overview["damaged"], overview["problems"]) == (0, [], [])
    one = json.loads(inspect(path, "--at", "1", "--json"))
    assert len(one["stacks"][0]["frames"]) == 5302
    assert one["stacks"][0]["frames"][1] == {
        "name": "fib",
        "function": 3,
        "site": 7,
        "offset": 0x40,
    }
    assert one["memories"][0]["pages_stored"] == 41
    assert one["memories"][0]["map"][:2] == [
        {"first_page": 3, "pages": 10, "stored": "raw"},
        {"first_page": 14, "pages": 1, "stored": "raw"},
    ]
    assert one["stacks"][0]["globals"][1] == {"index": 1, "name": "", "type": "f64", "value": "nan"}
    assert one["host"]["random"] == {"base64": "AAE="}


def test_a_long_line_of_descent(path: Path) -> None:
    """2,000 snapshots, each after the one before: one column, no recursion."""
    with make(path) as journal:
        journal.close()
    with Journal.open_for_writing(path, durability="process") as journal:
        for number in range(2000):
            with journal.begin(number or None, "timer") as writer:
                writer.commit()
    lines = inspect(path).splitlines()
    assert lines[5].startswith("    1     2") and lines[-1].startswith("    2000  2")


def damage(path: Path, kind: Kind, nth: int, offset: int) -> None:
    """Flips a bit ``offset`` bytes into the header of the n-th record of a kind."""
    data = bytearray(path.read_bytes())
    found = scanned(data).records
    data[[record for record in found if record.kind == kind][nth].position + offset] ^= 1
    path.write_bytes(data)


def test_damage_is_shown_with_what_is_left(path: Path) -> None:
    """The stack record of 1 is damaged, the header of 2; both are listed, the rest is shown."""
    three_snapshots(path)
    damage(path, Kind.BEGIN, 1, 20)
    damage(path, Kind.STACK, 0, 64 + 3)
    path.write_bytes(path.read_bytes() + b"half a record")
    lines = inspect(path).splitlines()
    assert "  1 snapshot" in lines
    text = "\n".join(lines)
    assert "after 1, which is damaged" in text
    assert "damaged: snapshot 1: the STACK record at byte" in text
    assert "damaged: snapshot 2: one of its record headers is damaged" in text
    assert "13 bytes at the end are not committed and do not count" in text
    one = inspect(path, "--at", "1")
    assert "damaged: snapshot 1 is damaged: the STACK record" in one
    assert "tag: one" in one and "table wasnap.t0: 2 elements, 1 null" in one
    with pytest.raises(JournalError, match="snapshot 2 is damaged"):
        inspect(path, "--at", "2")
    with pytest.raises(NoSuchSnapshot, match="no snapshot 7"):
        inspect(path, "--at", "7")


@pytest.mark.parametrize("kind", [Kind.START, Kind.MODULE])
def test_a_journal_without_its_first_records(path: Path, kind: Kind) -> None:
    """It cannot be resumed any more, but looked at."""
    three_snapshots(path)
    damage(path, kind, 0, 30)
    assert f"no intact {kind.name} record" in inspect(path)
    assert "fib" in inspect(path, "--at", "3")


def test_text_helpers() -> None:
    assert [size_text(n) for n in (0, 1023, 1536, 20 << 20, 3 << 30, 5 << 40)] == [
        "0 bytes",
        "1023 bytes",
        "1.5 KiB",
        "20.0 MiB",
        "3.0 GiB",
        "5.0 TiB",
    ]
    assert printable("é\x1b[0m\n\udcff") == "é\\x1b[0m\\n\\udcff"
    assert time_text(10**30) == f"{10**30} ns after 1970"


def test_start_with_directories(path: Path) -> None:
    start = StartRecord(
        wasnap="9\x07",
        transform=1,
        module_sha256=b"",
        module_name="m",
        created_ns=0,
        dirs=[{"guest": "/", "host": "a b", "readonly": True}],  # type: ignore[list-item]
    )
    Journal.create(path, b"\0asm", start).close()
    text = inspect(path)
    assert '  dir      / = "a b"  read-only' in text and "wasnap 9\\x07," in text
    assert "  args     (none)" in text and "  0 snapshots" in text


def test_it_reads_without_the_engine(path: Path) -> None:
    """Neither the room nor the command imports wasmtime, nor any room right of the journal."""
    three_snapshots(path)
    script = (
        "import sys\n"
        "from wasnap.cli.journal import journal\n"
        "journal(['inspect', sys.argv[1], '--at', '3'], standalone_mode=False)\n"
        "rooms = ('wasmtime', 'wasnap.engine', 'wasnap.host', 'wasnap.process')\n"
        "sys.exit(any(name.startswith(rooms) for name in sys.modules))\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, env=environment)
