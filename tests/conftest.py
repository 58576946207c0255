"""For all tests: signals as a terminal's programs find them, wherever the tests were started."""

from __future__ import annotations

import signal

# Started in the background by a shell, or under nohup, a process ignores some of them, and hands that on.
signal.signal(signal.SIGINT, signal.default_int_handler)
for ignored in (signal.SIGQUIT, signal.SIGHUP):
    signal.signal(ignored, signal.SIG_DFL)
