"""A process, from start to exit.

process.py   the story: start, (stop, capture, commit, continue)*, exit
serving.py   requests for snapshots, and how each is answered
"""

from wasnap.process.process import Process, resume

__all__ = ["Process", "resume"]
