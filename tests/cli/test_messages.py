"""Our messages: where they go, in which form, and that all exit codes are told."""

from __future__ import annotations

import inspect
import json
import signal
from datetime import datetime
from pathlib import Path
from typing import Any

from process import wat

from cli.conftest import Command
from wasnap import errors

README = Path(__file__).resolve().parents[2] / "README.md"


def objects(stderr: str) -> list[dict[str, Any]]:
    """Each line as JSON; each has a time, a level and a message."""
    found = [json.loads(line) for line in stderr.splitlines()]
    for one in found:
        assert datetime.fromisoformat(one["time"]).tzinfo is not None
        assert one["level"] in ("debug", "info", "warning", "error")
        assert one["message"]
    return found


def test_json(wasnap: Command) -> None:
    """Notices are shown, though no terminal is there; details only when asked for."""
    module = wasnap.write("m.wasm", wat.endless())
    for verbose in ((), ("--verbose",)):
        args = ["run", "--log-format", "json", *verbose, "--journal", "j", "--fresh", module]
        started = wasnap.start(*args)
        started.signal(signal.SIGTERM)
        code, _, stderr = started.end()
        assert code == 143
        levels = {one["level"] for one in objects(stderr)}
        assert levels == {"info", "debug"} if verbose else {"info"}


def test_json_errors(wasnap: Command) -> None:
    """The error that ends the command carries hint and exit code; a trap its frames."""
    wasnap.write("bad.wasm", wat.trapper())
    for args, code in (
        (["nowhere.wasm"], 66),
        (["--grace", "x", "bad.wasm"], 2),
        (["bad.wasm"], 134),
    ):
        done = wasnap("run", "--log-format", "json", *args)
        (told,) = objects(done.stderr.decode())
        assert done.returncode == told["exit_code"] == code
        assert told["level"] == "error"
        if code == 134:
            assert told["frames"][:2] == ["bad", "worse"]
        else:
            assert told["hint"]


def test_exit_codes_are_documented(wasnap: Command) -> None:
    """Each code of each error stands in the README and in ``wasnap --help``."""
    codes = {
        kind.exit_code
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.WasnapError)
    } | {2, 130, 143}
    table = [line.split("|")[1] for line in README.read_text().splitlines() if line[:1] == "|"]
    in_readme = {
        int(word) for cell in table for word in cell.replace(",", " ").split() if word.isdigit()
    }
    in_help = {
        int(line.split()[0])
        for line in wasnap("--help").stdout.decode().splitlines()
        if line.strip()[:1].isdigit()
    }
    assert codes <= in_readme
    assert codes == in_help
