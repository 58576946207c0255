"""CPython guest: the file-heavy modules of the standard library.

usage: stdlib.py ROUNDS DIRECTORY
"""

import hashlib
import os
import shutil
import sys
import tempfile
import zipfile


def listing(top: str) -> str:
    lines = []
    for directory, folders, files in os.walk(top):
        folders.sort()
        for name in sorted(files):
            with open(os.path.join(directory, name), "rb") as file:
                content = hashlib.sha256(file.read()).hexdigest()[:16]
            lines.append(f"{os.path.relpath(directory, top)}/{name} {content}")
    return "\n".join(lines)


def database(path: str, turn: int) -> object:
    try:
        import sqlite3
    except ImportError:
        return None
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER)")
        connection.execute("INSERT INTO t VALUES (?)", (turn,))
        return connection.execute("SELECT sum(n) FROM t").fetchone()


def main() -> None:
    rounds, top = int(sys.argv[1]), sys.argv[2]
    work = os.path.join(top, "work")
    os.mkdir(work)
    for turn in range(rounds):
        text = f"turn {turn}\n" * 500
        with tempfile.TemporaryDirectory(dir=top, prefix="t") as scratch:
            with tempfile.NamedTemporaryFile("w", dir=scratch, delete=False) as file:
                file.write(text)
            kept = os.path.join(work, f"f{turn % 5}")
            shutil.move(file.name, kept)
            with tempfile.TemporaryFile(dir=scratch) as nameless:
                nameless.write(text.encode())
                nameless.seek(100)
                assert nameless.read(4) == text.encode()[100:104]
            shutil.copytree(work, os.path.join(scratch, "copy"))
            shutil.make_archive(os.path.join(scratch, "made"), "zip", work)
            shutil.move(os.path.join(scratch, "made.zip"), os.path.join(work, "made.zip"))
        with zipfile.ZipFile(os.path.join(top, "all.zip"), "a") as archive:
            archive.writestr(zipfile.ZipInfo(f"{turn}.txt"), text)
            names = len(archive.namelist())
        os.remove(os.path.join(work, "made.zip"))
        shown = hashlib.sha256(listing(top).encode()).hexdigest()[:16]
        print(turn, names, shown, database(os.path.join(top, "data.db"), turn), flush=True)
    shutil.rmtree(work)
    print("done", listing(top))


main()
