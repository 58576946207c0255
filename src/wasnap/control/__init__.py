"""Control of running processes, by the commands ``ps``, ``snapshot``, ``signal`` and ``stop``.

    place.py      the directory where each running process has its socket
    messages.py   what is said over it, and how it is written
    server.py     in the process: answers
    client.py     in the command: finds processes, asks

Only the same user gets in: the directory is theirs and closed to others, and both sides ask the
kernel who is at the other end. A socket is named after its process; one that nobody listens on is
removed by whoever notices, so what a killed process leaves behind goes away by itself.
"""
