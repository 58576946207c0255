"""Make ``.venv`` at the top of the repository, with the project in it. Standard library only.

Used by ``demo.py`` and ``check.py``, which must run on a machine with nothing but Python 3.11+, pip
and venv. What was installed once is not installed again until ``pyproject.toml`` changes.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
ENVIRONMENT = REPOSITORY / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"


def environment(extras: str = "", *pinned: Path) -> Path:
    """The Python of the environment, with the project (``extras`` as in ``[dev]``) installed.

    ``pinned`` are requirement files with hashes, installed without what they depend on.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 (older ones may run this)
        sys.exit(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}")
    wanted = [REPOSITORY / "pyproject.toml", *pinned]
    digest = hashlib.sha256(extras.encode() + b"".join(file.read_bytes() for file in wanted))
    stamp = ENVIRONMENT / f"installed-{digest.hexdigest()[:16]}"
    if stamp.exists():
        return PYTHON
    say(f"Setting up {ENVIRONMENT} (once)")
    if not PYTHON.exists():
        run([sys.executable, "-m", "venv", str(ENVIRONMENT)])
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "--editable", f"{REPOSITORY}{extras}"])
    for file in pinned:
        run([*pip, "--no-deps", "--require-hashes", "--requirement", str(file)])
    stamp.touch()
    return PYTHON


def say(text: str) -> None:
    """A line of our own between the output of the programs we run."""
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"{bold}== {text}{plain}", flush=True)


def run(command: list[str], **environment: str) -> None:
    """Run a command at the top of the repository; its failure is ours."""
    done = subprocess.run(command, cwd=REPOSITORY, env={**os.environ, **environment})
    if done.returncode:
        sys.exit(done.returncode)
