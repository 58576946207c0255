"""Sockets of the guest's own (WASIX): what it may reach, what it opens, what is saved of it.

    endpoint.py  addresses
    rules.py     what the user allows
    network.py   one process's network: its rules, and what it has been told
    options.py   the options of sockets, by WASIX's names
    socket.py    a socket, from open to closed, and what becomes of it on a resume
    pair.py      two sockets that are connected with each other
    names.py     looking names up
    repair.py    connections that outlive their process

Sockets that a guest of preview1 is given are one file up (``host/socket.py``).
"""
