"""A process from start to exit: snapshots, stops, continuing, resuming; on tiny programs."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from process import wat
from process.conftest import Run
from wasnap.engine import Program
from wasnap.errors import (
    GuestTrap,
    JournalError,
    MissingFile,
    ProcessEnded,
    UnknownImport,
    UsageError,
    WrongModule,
)
from wasnap.journal import Journal
from wasnap.process import Process, resume


class InThread:
    """A process that runs in a thread; ``code`` is what ``run`` returned, ``error`` it raised."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.code: int | None = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.code = self.process.run()
        except BaseException as error:
            self.error = error

    def alive(self) -> None:
        """Raises what ended it, if it has ended, or soon does."""
        self._thread.join(0.01)
        if not self._thread.is_alive():
            self.join()
            raise AssertionError("the process ended")

    def join(self) -> int | None:
        self._thread.join(60)
        assert not self._thread.is_alive(), "the process did not end"
        if self.error is not None:
            raise self.error
        return self.code


def until_ready(fd: int, running: InThread | None = None) -> None:
    """Wait until the guest has printed ``ready``; raise what ended it before."""
    line = b""
    while not line.endswith(b"ready\n"):
        while running is not None and not select.select([fd], [], [], 0.1)[0]:
            running.alive()
        byte = os.read(fd, 1)
        assert byte, "the guest ended before it was ready"
        line += byte


def snapshots(path: Path) -> list[tuple[int, int | None, str]]:
    with Journal.open(path) as journal:
        return [(s.id, s.parent, s.trigger) for s in journal.snapshots]


# -- running ----------------------------------------------------------------------------------


def test_output_and_exit_code_are_the_guests(run: Run) -> None:
    """Without a journal a program just runs."""
    assert run.process(wat.counter(3, 10, code=42)).run() == 42
    assert run.output == wat.counted(3, 10)


def test_a_start_function_that_returns_is_exit_code_0(run: Run) -> None:
    """``_start`` that returns is success."""
    assert run.process(wat.wasm('(func (export "_start"))')).run() == 0


def test_arguments_and_environment(run: Run) -> None:
    """The guest sees the program's name, its arguments and variables, and no others."""
    module = wat.wasm("""
      (func (export "_start")
        (call $print (i32.const 256) (i32.const 0)))""")
    assert run.process(module, ["a", "b"], env={"X": "1"}, name="tool.wasm").run() == 0


def test_a_trap_names_the_functions(run: Run) -> None:
    """GuestTrap says what happened, and where, innermost first."""
    with pytest.raises(GuestTrap, match="integer divide by zero") as caught:
        run.process(wat.trapper()).run()
    assert caught.value.frames[:2] == ("bad", "worse")


def test_a_process_runs_once(run: Run) -> None:
    """A second ``run`` is a mistake of the caller."""
    process = run.process(wat.counter(1, 1))
    process.run()
    with pytest.raises(RuntimeError):
        process.run()


def test_run_in_another_thread(run: Run) -> None:
    """Signals are not ours there; all else works."""
    process = run.process(wat.counter(2, 10, code=3), journal=run.journal, snapshot_on=None)
    assert InThread(process).join() == 3
    assert run.output == wat.counted(2, 10)


# -- snapshots --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "finish", "printed"),
    [
        (wat.counter(40, 10_000_000, code=7, held=True), b"\n", wat.counted(40, 10_000_000)),
        (wat.diver(20_000, 20_000_000), b"\n", wat.dived(20_000, 20_000_000)),
        (wat.echo(), b"hello\n", b"ready\nhello\n"),
        (wat.sleeper(1), b"\n", b"ready\nready\n"),
    ],
    ids=["computing", "deep", "reading", "sleeping"],
)
def test_a_snapshot_in_place_and_resumed(
    run: Run, module: bytes, finish: bytes, printed: bytes
) -> None:
    """Wherever the guest is, a snapshot reaches it; it goes on there, and from the journal."""
    out, to_guest = run.pipe()
    stdin, feed = run.pipe()
    kept: list[int] = []  # that somebody wants to know makes the guest wait for each commit
    process = run.process(
        module, journal=run.journal, stdin=stdin, stdout=to_guest, on_snapshot=kept.append
    )
    running = InThread(process)
    until_ready(out)
    first = process.snapshot("one")
    second = process.snapshot()
    os.write(feed, finish)
    code = running.join()
    rest = os.read(out, 65536)
    assert b"ready\n" + rest == printed
    assert snapshots(run.journal) == [(first, None, "explicit"), (second, first, "explicit")]
    assert kept == [first, second]
    for snapshot in (first, second):
        os.write(feed, finish)
        resumed = run.process(None, journal=run.journal, at=snapshot, stdin=stdin)
        assert resumed.run() == code
        assert printed.endswith(run.output)
        assert run.output


def test_a_chain_of_resumes(run: Run) -> None:
    """Stopped and resumed at every 20,011th safepoint: all that was printed, once, in order."""
    module = wat.counter(10, 100_000, code=5)
    process = run.process(module, journal=run.journal, counted=[20_011], stop_after_snapshot=True)
    printed, resumes, code = b"", 0, process.run()
    while code == 0:
        printed += run.output
        process = run.process(None, journal=run.journal, counted=[20_011], stop_after_snapshot=True)
        code = process.run()
        resumes += 1
    assert code == 5
    assert printed + run.output == wat.counted(10, 100_000)
    assert resumes == 1_000_000 // 20_011
    ids = [s[0] for s in snapshots(run.journal)]
    assert ids == list(range(1, resumes + 1))


def test_an_early_snapshot_can_be_resumed_again(run: Run) -> None:
    """``at`` goes back; new snapshots then have that one as their parent, and are the newest."""
    module = wat.counter(10, 1000)
    run.process(module, journal=run.journal, counted=[2000, 2000, 2000]).run()
    again = run.process(None, journal=run.journal, at=2, counted=[100], stop_after_snapshot=True)
    assert again.run() == 0
    assert snapshots(run.journal)[-2:] == [(3, 2, "safepoint"), (4, 2, "safepoint")]
    run.process(None, journal=run.journal).run()
    assert wat.counted(10, 1000).endswith(run.output)


def test_later_snapshots_hold_only_what_changed(run: Run) -> None:
    """A program that writes one page between snapshots saves that one, also after a resume."""
    module = wat.wasm("""
      (func (export "_start") (local $i i32)
        (memory.fill (i32.const 65536) (i32.const 7) (i32.const 65536))
        (loop $next
          (i32.store (i32.const 70000) (local.get $i))
          (br_if $next
            (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 90)))))""")
    run.process(module, journal=run.journal, counted=[10, 20, 30]).run()
    process = run.process(None, journal=run.journal, counted=[10], stop_after_snapshot=True)
    assert process.run() == 0
    with Journal.open(run.journal) as journal:
        assert [s.pages for s in journal.snapshots] == [17, 1, 1, 1]


def test_the_timer(run: Run) -> None:
    """A timer takes snapshots by itself."""
    out, to_guest = run.pipe()
    process = run.process(wat.endless(), journal=run.journal, stdout=to_guest, snapshot_timer=0.01)
    running = InThread(process)
    until_ready(out, running)
    while len(snapshots(run.journal)) < 3:
        running.alive()
    process.stop(0)
    assert running.join() == 0
    assert {trigger for _, _, trigger in snapshots(run.journal)} == {"timer"}


def test_a_snapshot_of_what_is_over(run: Run) -> None:
    """``snapshot`` raises when the process has ended; also for those who wait for it then."""
    process = run.process(wat.counter(1, 1), journal=run.journal)
    process.run()
    with pytest.raises(ProcessEnded):
        process.snapshot()


def test_a_snapshot_without_a_journal(run: Run) -> None:
    """There is nowhere to put it."""
    with pytest.raises(UsageError):
        run.process(wat.endless()).snapshot()
    with pytest.raises(UsageError):
        run.process(wat.endless(), snapshot_timer=1)


def test_stop_ends_without_a_snapshot(run: Run) -> None:
    """``stop`` ends an endless program, with the code it is given."""
    out, to_guest = run.pipe()
    process = run.process(wat.endless(), journal=run.journal, stdout=to_guest)
    running = InThread(process)
    until_ready(out)
    process.stop(9)
    assert running.join() == 9
    assert snapshots(run.journal) == []


def test_many_threads_ask_at_once(run: Run) -> None:
    """Every request is answered, with snapshots in the order of their numbers."""
    out, to_guest = run.pipe()
    process = run.process(wat.endless(), journal=run.journal, stdout=to_guest)
    running = InThread(process)
    until_ready(out)
    ids: list[int] = []
    askers = [threading.Thread(target=lambda: ids.append(process.snapshot())) for _ in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(60)
    process.stop()
    assert running.join() == 143
    assert sorted(ids) == list(range(1, 9))


def test_a_failed_snapshot_harms_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk: the caller is told, the user once, and the next one works again."""
    out, to_guest = run.pipe()
    process = run.process(wat.endless(), journal=run.journal, stdout=to_guest)
    running = InThread(process)
    until_ready(out)
    first = process.snapshot()
    full: Callable[..., Any] = _no_space
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", full)
        for _ in range(3):
            with pytest.raises(JournalError, match="No space left"):
                process.snapshot()
    second = process.snapshot()
    process.stop()
    running.join()
    assert snapshots(run.journal) == [(first, None, "explicit"), (second, first, "explicit")]
    told = [r.getMessage() for r in caplog.records if "No space left" in r.getMessage()]
    assert len(told) == 1
    assert "the program goes on" in told[0]


def _no_space(*_: Any) -> int:
    raise OSError(28, os.strerror(28))


# -- the journal that is given ----------------------------------------------------------------


def test_run_resumes_what_the_journal_holds(run: Run) -> None:
    """The same call starts a job and goes on with it."""
    module = wat.counter(10, 1000)
    first = run.process(module, journal=run.journal, counted=[5000], stop_after_snapshot=True)
    assert first.run() == 0
    printed = run.output
    assert run.process(module, journal=run.journal).run() == 0
    assert printed + run.output == wat.counted(10, 1000)


def test_fresh_starts_anew(run: Run) -> None:
    """``fresh`` replaces the journal, and not before the new one is whole."""
    module = wat.counter(10, 1000)
    run.process(module, journal=run.journal, counted=[5000]).run()
    before = run.journal.read_bytes()
    with pytest.raises(UnknownImport):
        run.process(_importing(), journal=run.journal, fresh=True).run()
    assert run.journal.read_bytes() == before
    assert run.process(module, journal=run.journal, fresh=True).run() == 0
    assert run.output == wat.counted(10, 1000)
    assert snapshots(run.journal) == []


def test_fresh_replaces_only_journals(run: Run) -> None:
    """A file that is none, named by mistake, stays."""
    run.journal.write_text("dear diary")
    with pytest.raises(JournalError, match="not a journal"):
        run.process(wat.counter(1, 1), journal=run.journal, fresh=True).run()
    assert run.journal.read_text() == "dear diary"


def test_another_module(run: Run) -> None:
    """The journal of another module is not touched."""
    run.process(wat.counter(10, 1000), journal=run.journal, counted=[5000]).run()
    before = run.journal.read_bytes()
    with pytest.raises(WrongModule) as caught:
        run.process(wat.counter(11, 1000), journal=run.journal).run()
    assert "--fresh" in caught.value.hint
    assert run.journal.read_bytes() == before


def test_an_unknown_import_is_named(run: Run) -> None:
    """And no journal is made for what cannot be run."""
    with pytest.raises(UnknownImport, match=r"env\.magic"):
        run.process(_importing(), journal=run.journal).run()
    assert not run.journal.exists()


def test_resume_needs_nothing_but_the_journal(run: Run, tmp_path: Path) -> None:
    """The module may be gone; ``resume`` is the function for it."""
    module = tmp_path / "counter.wasm"
    module.write_bytes(wat.counter(10, 1000, code=4))
    process = run.process(None, journal=run.journal, counted=[5000])
    with pytest.raises(MissingFile):
        process.run()
    process = Process(
        module, journal=run.journal, counted=[5000], stop_after_snapshot=True, stdout=None
    )
    assert process.run() == 0
    module.unlink()
    assert resume(run.journal, stdout=None, snapshot_on=["explicit"]).run() == 4


def _importing() -> bytes:
    import wasmtime

    return bytes(
        wasmtime.wat2wasm(
            '(module (import "env" "magic" (func)) (func (export "_start") (call 0)))'
        )
    )


def test_an_interrupt_while_compiling(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C does not wait for the compiler."""
    over = threading.Event()

    def load(*_: Any, **__: Any) -> Program:
        os.kill(os.getpid(), signal.SIGINT)
        over.wait(60)
        raise AssertionError("nobody waits for this")

    monkeypatch.setattr(Program, "cached", lambda *_, **__: None)
    monkeypatch.setattr(Program, "load", load)
    with pytest.raises(KeyboardInterrupt):
        run.process(wat.endless(), journal=run.journal).run()
    over.set()
    assert not run.journal.exists()
