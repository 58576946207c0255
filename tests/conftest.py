"""For all tests: signals as a terminal's programs find them, wherever the tests were started."""

from __future__ import annotations

import signal

# Started in the background by a shell, or under nohup, a process ignores SIGINT, and hands that on.
signal.signal(signal.SIGINT, signal.default_int_handler)
