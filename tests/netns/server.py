"""Answers each GET on port 8000: /N with N bytes, /quick with 800 KiB, all else with the same 800 KiB in 20 seconds.

Says so when it listens. The bytes are those of `words` and `body` in node.rs.
"""

import array
import http.server
import sys
import time

PIECE = 4096


def words(length):
    """Numbers that follow from their places: 1, 1 + k, 1 + 2k, …"""
    return array.array("I", [(1 + place * 2654435761) % 2**32 for place in range(length // 4)]).tobytes()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        name = self.path[1:]
        body = words(int(name)) if name.isdigit() else b"".join(bytes([number]) * PIECE for number in range(200))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if name.isdigit() or name == "quick":
            self.wfile.write(body)
            return
        for start in range(0, len(body), PIECE):
            self.wfile.write(body[start : start + PIECE])
            time.sleep(0.1)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        # Whoever asks may go in the middle of the answer.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


server = Server(("0.0.0.0", 8000), Handler)
print("ready", flush=True)
server.serve_forever()
