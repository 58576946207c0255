"""Looking names up, in a thread: the guest's call waits for it as for anything else.

A stop leaves the look-up to itself; when the process goes on there is another one.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import threading

from ..beneath import os_error
from ..protocol import OUTSIDE, Call
from .network import Network
from .rules import IP

_ERRORS = {
    socket.EAI_MEMORY: errno.ENOMEM,
    socket.EAI_AGAIN: errno.EAGAIN,
    socket.EAI_FAMILY: errno.EAFNOSUPPORT,
}


def resolve(call: Call, network: Network, name: str) -> list[IP]:
    """The addresses of it. A number is its own. EACCES: no rule has this name. NOENT: there is no
    such name. AGAIN: not now. Raises OSError."""
    try:
        return [ipaddress.ip_address(name)]
    except ValueError:
        pass
    if not network.may_look_up(name):
        network.refuse(f"looking up {name}", f"--net-allow {name}:PORT")
    call.about_to(OUTSIDE)
    found = _look_up(call, name)
    network.looked_up(name, found)
    return found


def _look_up(call: Call, name: str) -> list[IP]:
    done, wake = os.pipe()
    answer: list[list[IP] | OSError] = []

    def look_up() -> None:
        try:
            rows = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
            ips = (ipaddress.ip_address(str(row[4][0]).partition("%")[0]) for row in rows)
            answer.append(list(dict.fromkeys(ips)))
        except socket.gaierror as error:
            answer.append(os_error(_ERRORS.get(error.errno or 0, errno.ENOENT)))
        except (OSError, UnicodeError):
            answer.append(os_error(errno.ENOENT))
        os.close(wake)

    threading.Thread(target=look_up, name="resolver", daemon=True).start()
    try:
        call.wait([done], [], None)
    finally:
        os.close(done)
    (found,) = answer
    if isinstance(found, OSError):
        raise found
    return found
