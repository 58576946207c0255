"""A server in CPython: its own socket module, on the socket it is given as descriptor 3.

Answers each line with how many there have been; ``quit`` ends it.
"""

import os
import socket

assert os.environ["LISTEN_FDS"] == "1"
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=3)
lines = 0
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    try:
        for line in connection.makefile("rb"):
            if line == b"quit\n":
                raise SystemExit
            lines += 1
            connection.sendall(b"%d %s" % (lines, line))
    except ConnectionResetError as error:
        print(error, flush=True)
    connection.close()
