"""Answers every GET with the same 800 KiB: at once for /quick, in 20 seconds else. Says so when it listens."""

import http.server
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", str(200 * 4096))
        self.end_headers()
        for number in range(200):
            self.wfile.write(bytes([number]) * 4096)
            if self.path != "/quick":
                time.sleep(0.1)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Handler)
print("ready", flush=True)
server.serve_forever()
