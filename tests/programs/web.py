"""The same as web.go: CPython's own http.server, on the socket it is given as descriptor 3.

It serves one connection at a time, and one request on each. This CPython's virtual file system
(wasi-vfs) does not know descriptors that come from sock_accept, and closing one fails inside the
guest: so all connections stay open, and that is no reason to end.
"""

import http.server
import socket
import socketserver
import urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    count = 0

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/count":
            Handler.count += 1
            self.answer(b"%d" % Handler.count)
        else:
            n = int(urllib.parse.parse_qs(query)["n"][0])
            self.answer(bytes(i * 7 >> 3 & 255 for i in range(n)))

    def do_POST(self) -> None:
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class Server(http.server.HTTPServer):
    def __init__(self) -> None:
        """On a socket that is there: WASI preview1 can make none."""
        socketserver.BaseServer.__init__(self, ("127.0.0.1", 0), Handler)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=3)

    def handle_error(self, request: object, client_address: object) -> None:
        """Without a word: what prints it would be imported, and that fails now, too."""


server = Server()
print("ready", flush=True)
while True:
    server.handle_request()
