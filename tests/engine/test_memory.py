"""Guest memory: bounds to the byte, growth, 64-bit memories, and restoring from extents."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasnap.engine import (
    BufferExtent,
    FileExtent,
    Guest,
    GuestMemory,
    MemoryImage,
)
from wasnap.errors import CannotResume
from wasnap.host.protocol import Fault

from .guests import functions, load

PAGE = 65536


@pytest.fixture(params=["i32", "i64"])
def guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    text = f"""(module (memory (export "memory") {request.param} 1 10)
      (data ({request.param}.const 100) "data of the module")
      (func (export "run") (drop (memory.grow ({request.param}.const 2)))))"""
    with Guest(load(text), functions()) as guest:
        yield guest


@pytest.fixture
def memory(guest: Guest) -> GuestMemory:
    return guest.memories[0]


def test_bytes_and_words(memory: GuestMemory) -> None:
    memory.write(10, b"\xaa" * 20)
    memory.set_u8(11, 0x101)
    memory.set_u16(13, 0x1_0203)
    memory.set_u32(16, -2)
    memory.set_u64(21, -3)
    got = memory.read(10, 20)
    expected = "aa 01 aa 0302 aa feffffff aa fdffffffffffffff aa"
    assert got == bytes.fromhex(expected.replace(" ", ""))
    assert memory.u8(11) == 1
    assert memory.u16(13) == 0x0203
    assert memory.u32(16) == 0xFFFFFFFE
    assert memory.u64(21) == 0xFFFFFFFFFFFFFFFD


def test_a_view_writes_through(memory: GuestMemory) -> None:
    view = memory.view(200, 4)
    view[:] = b"abcd"
    assert memory.read(199, 6) == b"\0abcd\0"
    memory.write(300, memory.view(200, 4))
    memory.write(304, bytearray(b"ef"))
    memory.write(306, memoryview(b"\1\0\2\0").cast("H"))
    assert memory.read(300, 10) == b"abcdef\1\0\2\0"


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_words_fault_one_byte_past_the_end(memory: GuestMemory, width: int) -> None:
    last = PAGE - width
    load_word = getattr(memory, f"u{8 * width}")
    store_word = getattr(memory, f"set_u{8 * width}")
    store_word(last, 5)
    assert load_word(last) == 5
    for ptr in (last + 1, PAGE, (1 << 32) - 1, (1 << 64) - 1):
        with pytest.raises(Fault):
            load_word(ptr)
        with pytest.raises(Fault):
            store_word(ptr, 6)
    assert load_word(last) == 5


def test_ranges_fault_one_byte_past_the_end(memory: GuestMemory) -> None:
    assert memory.read(PAGE, 0) == b""
    assert memory.read(PAGE - 3, 3) == b"\0\0\0"
    for ptr, n in ((PAGE - 3, 4), (PAGE + 1, 0), (0, PAGE + 1), (1 << 32, 1)):
        with pytest.raises(Fault) as caught:
            memory.read(ptr, n)
        assert (caught.value.address, caught.value.length, caught.value.size) == (ptr, n, PAGE)
        with pytest.raises(Fault):
            memory.view(ptr, n)
        with pytest.raises(Fault):
            memory.write(ptr, bytes(n))


def test_growth_is_seen(guest: Guest, memory: GuestMemory) -> None:
    address = memory.address
    with pytest.raises(Fault):
        memory.u32(PAGE)
    guest.start("run")
    guest.wait(20)
    memory.set_u32(3 * PAGE - 4, 9)
    assert memory.u32(3 * PAGE - 4) == 9
    assert memory.size == 3 * PAGE
    assert memory.address == address
    with pytest.raises(Fault):
        memory.u8(3 * PAGE)


def test_after_the_end_everything_faults(guest: Guest, memory: GuestMemory) -> None:
    guest.close()
    with pytest.raises(Fault):
        memory.u32(0)
    with pytest.raises(Fault):
        memory.read(0, 1)
    assert memory.size == 0


def test_a_module_without_memory_has_an_empty_one() -> None:
    from wasnap.engine.memory import GuestMemory

    memory = GuestMemory(None)
    assert memory.size == 0
    with pytest.raises(Fault):
        memory.u8(0)


def test_restore_clears_what_instantiation_wrote(memory: GuestMemory) -> None:
    assert memory.read(100, 4) == b"data"
    memory.restore(MemoryImage(PAGE, []))
    assert memory.read(0, PAGE) == bytes(PAGE)
    memory.set_u8(1, 1)
    assert memory.u8(1) == 1


def test_restore_grows_and_reads_extents(memory: GuestMemory, tmp_path: Path) -> None:
    path = tmp_path / "pages"
    pages = os.urandom(2 * 4096)
    path.write_bytes(b"head" + pages)
    fd = os.open(path, os.O_RDONLY)
    memory.restore(
        MemoryImage(
            3 * PAGE,
            [
                FileExtent(0, 4096, fd, 4),
                FileExtent(2 * PAGE, 4096, fd, 4 + 4096),
                BufferExtent(3 * PAGE - 2, b"xy"),
            ],
        )
    )
    os.close(fd)
    expected = bytearray(3 * PAGE)
    expected[:4096] = pages[:4096]
    expected[2 * PAGE : 2 * PAGE + 4096] = pages[4096:]
    expected[-2:] = b"xy"
    assert memory.read(0, memory.size) == expected


def test_an_extent_cut_short_is_an_error(memory: GuestMemory, tmp_path: Path) -> None:
    path = tmp_path / "pages"
    path.write_bytes(bytes(100))
    fd = os.open(path, os.O_RDONLY)
    with pytest.raises(CannotResume, match="ends inside"):
        memory.restore(MemoryImage(PAGE, [FileExtent(0, 4096, fd, 0)]))
    os.close(fd)


@pytest.mark.parametrize("size", [0, PAGE + 1, 11 * PAGE])
def test_sizes_that_cannot_be(memory: GuestMemory, size: int) -> None:
    with pytest.raises(CannotResume):
        memory.restore(MemoryImage(size, []))


def test_two_memories() -> None:
    text = """(module (memory 1) (memory 2) (data (memory 1) (i32.const 5) "second")
      (func (export "run")))"""
    with Guest(load(text), functions()) as guest:
        assert [m.size for m in guest.memories] == [PAGE, 2 * PAGE]
        assert guest.memories[1].read(5, 6) == b"second"


@pytest.mark.parametrize("most", [0, 3, 1000])
def test_the_number_of_mappings_is_bounded(tmp_path: Path, most: int) -> None:
    """The longest runs are mapped, the others read; the contents are the same."""
    from wasnap.engine import image

    path = tmp_path / "pages"
    path.write_bytes(os.urandom(64 * PAGE))
    fd = os.open(path, os.O_RDONLY)
    extents = [FileExtent(2 * at * PAGE, PAGE, fd, (63 - at) * PAGE) for at in range(20)]
    size = 40 * PAGE
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as room:
        here = ctypes.c_char.from_buffer(room)
        address = ctypes.addressof(here)
        copied = image.place(address, MemoryImage(size, extents), mappings_max=most)
        lines = Path("/proc/self/maps").read_text().splitlines()
        assert sum(str(path) in line for line in lines) == min(most, 20)
        assert copied == (20 - min(most, 20)) * PAGE
        content = path.read_bytes()
        for at in range(20):
            start = (63 - at) * PAGE
            got = ctypes.string_at(address + 2 * at * PAGE, PAGE)
            assert got == content[start : start + PAGE]
            assert ctypes.string_at(address + (2 * at + 1) * PAGE, PAGE) == bytes(PAGE)
        del here
    os.close(fd)


layers = st.lists(
    st.tuples(
        st.integers(0, 60),
        st.integers(1, 40),
        st.one_of(st.none(), st.just(-1), st.integers(0, 20)),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(
    layers=layers,
    most=st.sampled_from([0, 1, 2, 100]),
    singles=st.dictionaries(st.integers(0, 99), st.integers(0, 139), max_size=30),
    many=st.sampled_from([1, 1000]),
)
def test_scattered_pieces_are_in_place(
    tmp_path_factory: pytest.TempPathFactory,
    layers: list[tuple[int, int, int | None]],
    most: int,
    singles: dict[int, int],
    many: int,
) -> None:
    """Runs of pages, each over those before: from where it stands in the file (so that runs of one
    line meet again), from a buffer (-1), or zero; single pages over all but buffers, read by one
    thread or by several. Mapped or read, every page is right."""
    from wasnap.engine import image

    path = tmp_path_factory.mktemp("image") / "pages"
    size = 100
    path.write_bytes(os.urandom(140 * 4096))
    content = path.read_bytes()
    pages: list[int | None] = [None] * size
    for first, count, ahead in layers:
        for page in range(first, min(first + count, size)):
            pages[page] = ahead if ahead is None or ahead < 0 else page + ahead
    buffer = b"b" * 4096
    fd = os.open(path, os.O_RDONLY)
    extents: list[FileExtent | BufferExtent] = []
    for page, at in enumerate(pages):
        if at == -1:
            extents.append(BufferExtent(page * 4096, buffer))
            continue
        if at is None:
            continue
        last = extents[-1] if extents else None
        start, offset = page * 4096, at * 4096
        if isinstance(last, FileExtent) and (last.address, last.offset) == (
            start - last.length,
            offset - last.length,
        ):
            extents[-1] = last._replace(length=last.length + 4096)
        else:
            extents.append(FileExtent(start, 4096, fd, offset))
    places = {page: 4096 * at for page, at in singles.items() if pages[page] != -1}
    for page, offset in places.items():
        pages[page] = offset // 4096 if offset else None
    scattered = image.Scattered(fd, places)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image, "_MANY_PAGES", many)
        patch.setattr(image, "MAPPED_MIN", 2 * 4096)
        patch.setattr(image, "JOINED_MAX", 8 * 4096)
        with mmap.mmap(-1, size * 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as room:
            here = ctypes.c_char.from_buffer(room)
            address = ctypes.addressof(here)
            ctypes.memset(address, 7, size * 4096)
            what = MemoryImage(size * 4096, extents, scattered=scattered)
            image.place(address, what, mappings_max=most)
            for page, at in enumerate(pages):
                got = ctypes.string_at(address + page * 4096, 4096)
                if at == -1:
                    assert got == buffer, page
                else:
                    assert got == (bytes(4096) if at is None else content[at * 4096 :][:4096]), page
            del here
    os.close(fd)


@pytest.mark.parametrize("most", [0, 100])
def test_single_pages_lie_over_what_was_read_or_mapped(tmp_path: Path, most: int) -> None:
    """A zero one, and one from the file."""
    from wasnap.engine import image

    path = tmp_path / "pages"
    path.write_bytes(os.urandom(40 * 4096))
    content = path.read_bytes()
    size = 60 * 4096
    fd = os.open(path, os.O_RDONLY)
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as room:
        here = ctypes.c_char.from_buffer(room)
        address = ctypes.addressof(here)
        places = image.Scattered(fd, {5: 0, 6: 4096, 50: 0, 51: 8192})
        extents = [FileExtent(0, 40 * 4096, fd, 0)]
        what = MemoryImage(size, extents, scattered=places)
        assert image.place(address, what, mappings_max=most) == (3 + (40 if not most else 0)) * 4096
        expected = bytearray(content + bytes(20 * 4096))
        for page, data in ((5, bytes(4096)), (6, content[4096:8192]), (51, content[8192:12288])):
            expected[page * 4096 : page * 4096 + 4096] = data
        assert ctypes.string_at(address, size) == expected
        del here
    os.close(fd)


def test_a_run_with_other_pages_in_it_is_one_mapping(tmp_path: Path) -> None:
    """What an earlier snapshot had in one run, and later ones have cut: mapped once, and only the
    others' pages are copied."""
    from wasnap.engine import image

    path = tmp_path / "pages"
    path.write_bytes(os.urandom(80 * PAGE))
    fd = os.open(path, os.O_RDONLY)
    size = 64 * PAGE
    cuts = range(2 * 4096, size, PAGE)
    extents, free = [], 0
    for number, cut in enumerate(cuts):
        extents.append(FileExtent(free, cut - free, fd, free))
        extents.append(FileExtent(cut, 4096, fd, size + 2 * number * 4096))
        free = cut + 4096
    extents.append(FileExtent(free, size - free, fd, free))
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as room:
        here = ctypes.c_char.from_buffer(room)
        address = ctypes.addressof(here)
        assert image.place(address, MemoryImage(size, extents)) == len(cuts) * 4096
        lines = Path("/proc/self/maps").read_text().splitlines()
        assert sum(str(path) in line for line in lines) == 1
        expected = bytearray(path.read_bytes()[:size])
        for number, cut in enumerate(cuts):
            expected[cut : cut + 4096] = path.read_bytes()[size + 2 * number * 4096 :][:4096]
        assert ctypes.string_at(address, size) == expected
        del here
    os.close(fd)
