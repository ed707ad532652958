"""Answers each datagram with its bytes in upper case, on a free port of loopback."""

import socketserver


class Upper(socketserver.BaseRequestHandler):
    def handle(self):
        datagram, socket = self.request
        socket.sendto(datagram.upper(), self.client_address)


with socketserver.ThreadingUDPServer(("127.0.0.1", 0), Upper) as server:
    print("port", server.server_address[1])
    server.serve_forever()
