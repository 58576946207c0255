"""For all tests: signals as a terminal's programs find them, wherever the tests were started, and no
limit of time for an example of hypothesis: a machine that is busy is no mistake of ours."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# Started in the background by a shell, or under nohup, a process ignores some of them, and hands that on.
signal.signal(signal.SIGINT, signal.default_int_handler)
for ignored in (signal.SIGQUIT, signal.SIGHUP):
    signal.signal(ignored, signal.SIG_DFL)

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
