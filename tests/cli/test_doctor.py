"""``wasnap doctor``: what is there, and what follows from what is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from wasnap.cli.command import wasnap
from wasnap.engine import dirty, doctor, tracking


def test_it_names_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One line each, and the same as JSON."""
    monkeypatch.setenv("WASNAP_CACHE_DIR", str(tmp_path))  # one that nobody fills meanwhile
    shown = CliRunner().invoke(wasnap, ["doctor"])
    assert shown.exit_code == 0
    found = json.loads(CliRunner().invoke(wasnap, ["doctor", "--json"]).stdout)
    names = [each["what"] for each in found]
    assert names[:4] == ["wasnap", "engine", "machine", "kernel"]
    for each in found:
        assert each["what"] in shown.stdout and each["found"] in shown.stdout


def test_what_is_missing_has_a_consequence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said beside it."""
    monkeypatch.setattr(dirty, "missing", lambda: "no such system call")
    monkeypatch.setattr("wasnap.engine.doctor.os.setxattr", _fails)
    said = {each.what: each for each in doctor.examine()}
    assert "second copy" in said["userfaultfd, PAGEMAP_SCAN"].so
    assert "reads all" in said["extended attributes, here"].so
    monkeypatch.undo()
    monkeypatch.setenv(tracking.COMPARE, "1")
    assert doctor.examine()[4].so


def _fails(*_: object) -> None:
    raise OSError(95, "Operation not supported")
