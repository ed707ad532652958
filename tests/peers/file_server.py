"""`python3 -m http.server` for the folder argv[1], on a free port of loopback, with a longer queue.

The usual one, 5, loses connections when a hundred come at once; they would be tried again, but elsewhere.
"""

import functools
import http.server
import sys


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
with Server(("127.0.0.1", 0), handler) as server:
    print("port", server.server_port)
    server.serve_forever()
