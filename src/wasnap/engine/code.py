"""From a module's bytes to code that can run: check, instrument, compile, or find all that cached.

A cache hit needs no decoding, no instrumentation and no compilation; only when a continuation is
wanted that is not cached either is the original decoded.

The key of an entry: the module's SHA-256, the transform's version and source, whether safepoints
are counted, and the engine's version and configuration. The entry of a continuation is the program's
with the site's number.

A journal says what its module's SHA-256 is, and that is believed as far as *finding* a program goes:
summing up 25 MB takes longer than all the rest of a warm start. Nothing is ever made, or put into the
cache, under a sum that was not computed here.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar

import msgspec

import wasnap.instrument
from wasnap.engine import config, ffi, native, objects
from wasnap.engine.cache import Cache
from wasnap.engine.objects import EngineError, Module
from wasnap.errors import CannotResume, InvalidModule, UnsupportedModule, WasnapError
from wasnap.instrument import TRANSFORM_VERSION, ProgramInfo, Site

if TYPE_CHECKING:
    from wasnap.wasm.module import Module as Decoded

log = logging.getLogger(__name__)

MANY_SITES: Final = 4096
"""A program with fewer is decoded in a few milliseconds."""

T = TypeVar("T")
HOT = "wasnap"
"""The module name under which continuations import what is not the guest's."""
_RESUME = "wasnap.resume."

_OFFSET = r" *\(at offset 0x([0-9a-f]+)\)"
_FEATURE = (
    r"not enabled|not supported|unsupported|without the .* feature|disabled"
    r"|require the .* proposal|global.get of locally defined global"
)


def validate(module: bytes) -> None:
    """Raise InvalidModule or UnsupportedModule unless the engine can run this module."""
    if module[:4] != b"\0asm":
        raise InvalidModule(
            "this is not a WebAssembly module: it does not begin with \\0asm",
            "give the compiled .wasm file",
            0,
        )
    if module[4:8] == b"\x0d\0\1\0":
        raise UnsupportedModule(
            "this is a WebAssembly component; wasnap runs core modules",
            "compile for wasm32-wasip1, or take the core module out of the component",
        )
    error = ffi.wasmtime_module_validate(config.engine(), module, len(module))
    if error:
        raise _complaint(str(EngineError(error)))


def _complaint(message: str) -> WasnapError:
    """The validator's message as our error: unsupported where it names a feature."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    text = lines[-1] if len(lines) > 1 else lines[0]
    at = re.search(_OFFSET, text)
    offset = int(at.group(1), 16) if at else None
    text = re.sub(_OFFSET, "", text)
    if "legacy" in text:
        return UnsupportedModule(
            "the module uses the old exceptions (try, catch), which the engine does not run",
            "translate it: wasm-opt --translate-to-exnref, or compile with "
            "-mllvm -wasm-use-legacy-eh=false",
        )
    if re.search(_FEATURE, text):
        return UnsupportedModule(f"the module uses a feature the engine does not run: {text}")
    return InvalidModule(f"the module is not valid: {text}", offset=offset)


class Sites(Protocol):
    """What continuations are made by: ``instrument.Continuations``."""

    def site(self, n: int) -> Site: ...
    def by_table(self, n: int) -> bool: ...
    def before_table(self, n: int) -> bool: ...
    def module_for(self, n: int) -> bytes: ...


class Continuation(NamedTuple):
    """The compiled rest of one function after one site.

    It may import ``wasnap.resume.<n>``, the continuation of another site (say, of the header of the
    loop around its own) that it hands over to: ``successors``. There is no cycle in these.
    """

    site: Site
    module: Module
    imports: list[native.ImportEntry]
    successors: frozenset[int]

    @classmethod
    def of(cls, site: Site, module: Module) -> Continuation:
        imports = native.imports(module)
        named = (successor(entry) for entry in imports)
        return cls(site, module, imports, frozenset(n for n in named if n is not None))


def _decode(module: bytes) -> Decoded:
    """Decode a module; the decoder is imported here, since a cached program needs none."""
    from wasnap.wasm.decode import decode

    return decode(module)


def successor(entry: native.ImportEntry) -> int | None:
    """The site whose continuation is imported here, or None if it is something else."""
    if entry.module != HOT or not entry.name.startswith(_RESUME):
        return None
    return int(entry.name.removeprefix(_RESUME))


class Program:
    """Compiled code of one module: what any number of guests run. Safe to use from any thread.

    ``key``: the cache key; ``info``: what the transform says of it; ``imports``: in order.
    """

    def __init__(
        self,
        module: Module,
        info: ProgramInfo,
        sites: Callable[[], Sites],
        cache: Cache,
        key: str,
    ) -> None:
        self.module = module
        self.info = info
        self.key = key
        self.imports = native.imports(module)
        self._make_sites = sites
        self._sites: Sites | None = None
        self.cache = cache
        self._continuations: dict[int, Continuation] = {}
        self._lock = threading.Lock()

    @classmethod
    def cached(
        cls,
        module: Callable[[], bytes],
        sha256: bytes,
        *,
        counted: bool = False,
        cache: Cache | None = None,
    ) -> Program | None:
        """The program of a module, if it is in the cache: milliseconds.

        ``module()`` is called when a continuation is wanted that is not in the cache. ``sha256``:
        what somebody says that the module's is; if that is wrong, CannotResume then.
        """
        cache = Cache.default() if cache is None else cache
        key = cache_key(sha256, counted)
        found = _from_cache(cache, key, ProgramInfo)
        if found is None:
            return None
        info, compiled = found

        def sites() -> Sites:
            return wasnap.instrument.Continuations(_decode(_checked(module(), sha256)), info)

        return cls(compiled, info, sites, cache, key)

    @classmethod
    def load(
        cls,
        module: bytes,
        *,
        counted: bool = False,
        cache: Cache | None = None,
        sha256: bytes | None = None,
    ) -> Program:
        """The program of a module: from the cache, or instrumented, compiled and stored.

        ``sha256``: as for ``cached``; computed if None. Raises InvalidModule or UnsupportedModule; CannotResume for a
        wrong ``sha256``.
        """
        cache = Cache.default() if cache is None else cache
        known = sha256 or _sha256(module)
        found = cls.cached(lambda: module, known, counted=counted, cache=cache)
        if found is not None:
            return found
        if sha256 is not None:
            _checked(module, sha256)
        validate(module)
        decoded = _decode(module)
        instrumented = wasnap.instrument.instrument(decoded, counted=counted)
        info = instrumented.info
        compiled = compile_module(instrumented.wasm)
        key = cache_key(known, counted)
        _store(cache, key, compiled, info)

        def sites() -> Sites:
            return wasnap.instrument.Continuations(decoded, info)

        return cls(compiled, info, sites, cache, key)

    def continuations(self, numbers: Iterable[int]) -> dict[int, Continuation]:
        """The continuations of these sites, and of those they hand over to, by site.

        Those missing are compiled, several at a time.
        """
        found: dict[int, Continuation] = {}
        wanted = set(numbers)
        with self._lock:
            while wanted:
                self._load_continuations(wanted)
                found.update((n, self._continuations[n]) for n in wanted)
                wanted = {n for c in found.values() for n in c.successors} - found.keys()
        return found

    def _load_continuations(self, wanted: set[int]) -> None:
        """Have these in ``_continuations``."""
        todo = []
        for n in wanted - self._continuations.keys():
            cached = _from_cache(self.cache, self._site_key(n), Site)
            if cached is None:
                todo.append(n)
            else:
                self._continuations[n] = Continuation.of(*cached)
        if not todo:
            return
        began = time.perf_counter()
        sites = self._known_sites()
        from concurrent.futures import ThreadPoolExecutor

        # Sites is for one thread; compiling is not, and does not hold the interpreter: so the next
        # one is made meanwhile.
        with ThreadPoolExecutor(min(len(todo), os.cpu_count() or 1)) as pool:
            compiled = pool.map(compile_module, map(sites.module_for, todo))
            for n, module in zip(todo, compiled, strict=True):
                site = sites.site(n)
                _store(self.cache, self._site_key(n), module, site)
                self._continuations[n] = Continuation.of(site, module)
        took = 1000 * (time.perf_counter() - began)
        log.debug("code to go on from %d new places compiled in %.1f ms", len(todo), took)

    def site(self, n: int) -> Site:
        """The facts of site ``n``; nothing is compiled for it."""
        with self._lock:
            known = self._continuations.get(n)
            if known is not None:
                return known.site
            cached = _from_cache(self.cache, self._site_key(n), Site)
            if cached is not None:  # its function need not be looked at again
                self._continuations[n] = Continuation.of(*cached)
                return cached[0]
            return self._known_sites().site(n)

    def calls_by_table(self, n: int) -> bool:
        """Whether site ``n`` is a call through a table. Rarely asked: the module is decoded."""
        with self._lock:
            return self._known_sites().by_table(n)

    def before_table(self, n: int) -> bool:
        """Whether site ``n`` is none, and its function has one. Rarely asked, too."""
        with self._lock:
            return self._known_sites().before_table(n)

    def get_ready(self, go_on: Callable[[], bool]) -> None:
        """Have at hand what continuations are made of, and those that are likely to be wanted, before
        a guest stands still for one. ``go_on()``: false if there is no time for more. Nothing for a
        small program, for which all that takes no time worth mentioning.
        """
        if self.info.site_bases[-1] < MANY_SITES:
            return
        with self._lock:
            self._known_sites()
        for number in self.info.likely:
            if not go_on():
                break
            self.continuations([number])

    def _known_sites(self) -> Sites:
        if self._sites is None:
            self._sites = self._make_sites()
        return self._sites

    def _site_key(self, n: int) -> str:
        return f"{self.key}.{n}"


def cache_key(sha256: bytes, counted: bool) -> str:
    """What an entry of the code cache is found by."""
    transform = f"{TRANSFORM_VERSION}-{_transform_source():08x}"
    return f"{sha256.hex()}-{transform}-{int(counted)}-{_engine()}"


def _engine() -> str:
    """The engine and its settings, short: there are but a few in a machine's life."""
    return f"{zlib.crc32(config.fingerprint().encode()):08x}"


def _sha256(module: bytes) -> bytes:
    import hashlib  # 3 ms, for its library of ciphers

    return hashlib.sha256(module).digest()


def _checked(module: bytes, sha256: bytes) -> bytes:
    """The module, if that is its sum. Raises CannotResume."""
    if _sha256(module) != sha256:
        raise CannotResume(
            "the module in the journal is not the one that its start record names",
            "look at it: wasnap journal inspect",
        )
    return module


@lru_cache(maxsize=1)
def _transform_source() -> int:
    """CRC-32 of the transform's source (0.3 ms).

    A program may stand in the cache while its continuations are still to be made: by the same
    transform, even where it was edited and its version not raised.
    """
    crc = 0
    for path in sorted(Path(wasnap.instrument.__file__).parent.glob("*.py")):
        crc = zlib.crc32(path.read_bytes(), crc)
    return crc


def compile_module(wasm: bytes) -> Module:
    """Compile what the transform made; that it fails is our fault, not the guest's."""
    try:
        return Module.compiled(config.engine(), wasm)
    except EngineError as error:
        raise WasnapError(
            f"the instrumented module does not compile: {error}", "a bug of wasnap"
        ) from None


_texts: dict[str, Module] = {}


def compiled_text(text: str, cache: Cache) -> Module:
    """A small module of our own, given as text; compiled once, and kept in the cache."""
    module = _texts.get(text)
    if module is None:
        module = _texts[text] = _load_text(text, cache)
    return module


def _load_text(text: str, cache: Cache) -> Module:
    key = f"text-{len(text)}-{zlib.crc32(text.encode()):08x}-{_engine()}"
    cached = _from_cache(cache, key, str)
    if cached is not None:
        return cached[1]
    module = compile_module(objects.wat2wasm(text))
    _store(cache, key, module, "")
    return module


def _store(cache: Cache, key: str, module: Module, meta: ProgramInfo | Site | str) -> None:
    if cache.usable:
        cache.store(key, module.serialized(), msgspec.msgpack.encode(meta))


def _from_cache(cache: Cache, key: str, kind: type[T]) -> tuple[T, Module] | None:
    """What the cache holds, or None: also where the engine or we do not understand it."""
    found = cache.find(key)
    if found is None:
        return None
    try:
        meta = msgspec.msgpack.decode(found.meta, type=kind)
        return meta, Module.loaded(config.engine(), os.fsencode(found.path))
    except (EngineError, msgspec.MsgspecError):
        return None
