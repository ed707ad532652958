"""Breaks HTTP/2 at the server argv[1] (HOST:PORT) in one way after the other, each on a connection of its own.

The cases are those of RFC 9113 and RFC 7541 that hurt proxies most. A server must end the connection or the stream, with the
error that the RFC names where it names one, and not answer what was malformed with a 2xx. Prints a line for each case.
"""

import socket
import struct
import sys

import hpack

HOST, PORT = sys.argv[1].rsplit(":", 1)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PROTOCOL, FLOW, SETTINGS, CLOSED, SIZE, REFUSED, CANCEL, COMPRESSION, _, CALM = 1, 3, 4, 5, 6, 7, 8, 9, 10, 11
GOOD = [(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/who")]
POST = [(":method", "POST"), (":scheme", "http"), (":authority", "a.test"), (":path", "/sha256")]


def raw(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def headers(fields, stream=1, end=True, whole=True):
    block = hpack.Encoder().encode(fields, huffman=False)
    return raw(1, (1 if end else 0) | (4 if whole else 0), stream, block)


def data(payload, stream=1, end=True):
    return raw(0, 1 if end else 0, stream, payload)


def without(name):
    return [field for field in GOOD if field[0] != name]


def settings(identifier, value):
    return raw(4, 0, 0, struct.pack(">HI", identifier, value))


# What is sent after the preface and settings, and what must come of it: `connection` ends with one of these errors, `stream`
# is reset or answered with a 4xx or 5xx, `either` one of both.
CASES = {
    "a frame larger than allowed": (raw(0, 0, 1, bytes(2**14 + 1)), "connection", {SIZE, PROTOCOL, CLOSED}),
    "data on stream 0": (raw(0, 0, 0, b"x"), "connection", {PROTOCOL}),
    "headers on stream 0": (headers(GOOD, stream=0), "connection", {PROTOCOL}),
    "headers on an even stream": (headers(GOOD, stream=2), "connection", {PROTOCOL}),
    "data on an idle stream": (data(b"x", stream=5), "connection", {PROTOCOL, CLOSED}),
    "a reset of an idle stream": (raw(3, 0, 7, bytes(4)), "connection", {PROTOCOL}),
    "a window for an idle stream": (raw(8, 0, 7, struct.pack(">I", 1)), "connection", {PROTOCOL}),
    "a stream of a lower number": (headers(GOOD, stream=5) + headers(GOOD, stream=3), "connection", {PROTOCOL, CLOSED}),
    "another frame within a header block": (headers(GOOD, whole=False) + raw(6, 0, 0, bytes(8)), "connection", {PROTOCOL}),
    "a continuation of nothing": (raw(9, 4, 1, b""), "connection", {PROTOCOL}),
    "a header block that is no HPACK": (raw(1, 5, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff"), "connection", {COMPRESSION}),
    "an index beyond the table": (raw(1, 5, 1, b"\xfe"), "connection", {COMPRESSION}),
    "a table larger than agreed": (raw(1, 5, 1, b"\x3f\xe1\xff\x03"), "connection", {COMPRESSION}),
    "a window beyond 2^31-1": (raw(8, 0, 0, struct.pack(">I", 2**31 - 1)), "connection", {FLOW}),
    "a window of nothing": (raw(8, 0, 0, bytes(4)), "connection", {PROTOCOL}),
    "settings of a wrong size": (raw(4, 0, 0, b"12345"), "connection", {SIZE}),
    "settings of a stream": (raw(4, 0, 1, b""), "connection", {PROTOCOL}),
    "an acknowledgement with settings": (raw(4, 1, 0, bytes(6)), "connection", {SIZE}),
    "a frame size below the least": (settings(5, 16383), "connection", {PROTOCOL}),
    "a first window beyond the most": (settings(4, 2**31), "connection", {FLOW}),
    "push that is neither on nor off": (settings(2, 2), "connection", {PROTOCOL}),
    "a ping of a wrong size": (raw(6, 0, 0, bytes(7)), "connection", {SIZE}),
    "a ping of a stream": (raw(6, 0, 1, bytes(8)), "connection", {PROTOCOL}),
    "a push from a client": (raw(5, 4, 1, struct.pack(">I", 2) + b""), "connection", {PROTOCOL}),
    "padding longer than the frame": (headers(POST, end=False) + raw(0, 8, 1, b"\x05abc"), "connection", {PROTOCOL}),
    "a goaway of a stream": (raw(7, 0, 1, bytes(8)), "connection", {PROTOCOL}),
    "a stream that depends on itself": (raw(1, 0x25, 1, struct.pack(">IB", 1, 1) + hpack.Encoder().encode(GOOD)), "any", {PROTOCOL}),
    "no method": (headers(without(":method")), "stream", {PROTOCOL}),
    "no path": (headers(without(":path")), "stream", {PROTOCOL}),
    "no scheme": (headers(without(":scheme")), "stream", {PROTOCOL}),
    "an empty path": (headers(without(":path") + [(":path", "")]), "stream", {PROTOCOL}),
    "two paths": (headers(GOOD + [(":path", "/held")]), "stream", {PROTOCOL}),
    "a pseudo-header after the others": (headers(GOOD[:3] + [("a", "b")] + GOOD[3:]), "stream", {PROTOCOL}),
    "an unknown pseudo-header": (headers(GOOD + [(":other", "x")]), "stream", {PROTOCOL}),
    "a pseudo-header of responses": (headers(GOOD + [(":status", "200")]), "stream", {PROTOCOL}),
    "a name with a capital": (headers(GOOD + [("X-Name", "x")]), "stream", {PROTOCOL}),
    "a field of the connection": (headers(GOOD + [("connection", "keep-alive")]), "stream", {PROTOCOL}),
    "transfer-encoding": (headers(POST + [("transfer-encoding", "chunked")], end=False) + data(b"0\r\n\r\n"), "stream", {PROTOCOL}),
    "te that is not trailers": (headers(GOOD + [("te", "gzip")]), "stream", {PROTOCOL}),
    "a line break in a value": (headers(GOOD + [("a", "b\r\nx: y")]), "stream", {PROTOCOL}),
    "a line break in a path": (headers(without(":path") + [(":path", "/who HTTP/1.1\r\nx: y")]), "stream", {PROTOCOL}),
    "a colon in a name": (headers(GOOD + [("a:b", "c")]), "stream", {PROTOCOL}),
    "a space in a path": (headers(without(":path") + [(":path", "/who me")]), "stream", {PROTOCOL}),
    "less data than promised": (headers(POST + [("content-length", "5")], end=False) + data(b"abc"), "stream", {PROTOCOL}),
    "more data than promised": (headers(POST + [("content-length", "3")], end=False) + data(b"abcdef"), "stream", {PROTOCOL}),
    "two lengths that differ": (headers(POST + [("content-length", "3"), ("content-length", "4")], end=False) + data(b"abc"), "stream", {PROTOCOL}),
    "a host that is another": (headers(GOOD + [("host", "b.test")]), "any", {PROTOCOL}),
    # hyper drops the field and serves the request: nothing of it reaches a backend, but the RFC has it malformed.
    "trailers with a pseudo-header": (headers(POST, end=False) + headers([(":path", "/x")]), "any", {PROTOCOL}),
    "connect": (headers([(":method", "CONNECT"), (":authority", "b.test:22")]), "stream", {PROTOCOL, REFUSED, CANCEL}),
    "a flood of resets": (b"".join(headers(GOOD, stream=2 * n + 1, end=False) + raw(3, 0, 2 * n + 1, struct.pack(">I", 8)) for n in range(5000)), "connection", {CALM, PROTOCOL}),
    "continuations without end": (headers(GOOD, whole=False) + raw(9, 0, 1, b"\x00\x01a\x7f\x80\x7f" + b"x" * 255) * 2000, "connection", {CALM, PROTOCOL, COMPRESSION, SIZE}),
}


def talk(sent):
    """What came of it: how the connection and each stream ended."""
    came = {"goaway": None, "resets": {}, "status": {}, "closed": False}
    with socket.create_connection((HOST, int(PORT)), 10) as connection:
        connection.settimeout(10)
        probe = raw(6, 0, 0, b"are you?")
        try:
            connection.sendall(PREFACE + raw(4, 0, 0, b"") + sent + probe)
        except OSError:
            pass
        decoder, pending = hpack.Decoder(), b""
        while True:
            try:
                got = connection.recv(65536)
            except TimeoutError:
                return came
            except OSError:
                got = b""
            if not got:
                came["closed"] = True
                return came
            pending += got
            while len(pending) >= 9 and len(pending) >= 9 + int.from_bytes(pending[:3], "big"):
                length = int.from_bytes(pending[:3], "big")
                kind, flags, stream = pending[3], pending[4], int.from_bytes(pending[5:9], "big")
                payload, pending = pending[9 : 9 + length], pending[9 + length :]
                if kind == 7:
                    came["goaway"] = int.from_bytes(payload[4:8], "big")
                elif kind == 3:
                    came["resets"][stream] = int.from_bytes(payload, "big")
                elif kind == 1:
                    came["status"].setdefault(stream, dict(decoder.decode(payload)).get(":status"))
                # The answer to our ping: whatever was wrong with a stream has been told, or is by the end of it.
                if kind == 6 and flags & 1 and (came["resets"] or came["status"]):
                    return came
                if (kind in (1, 3)) and any(s for s in (came["resets"], came["status"])):
                    return came


# Where hyper ends the connection as it must, but names the error PROTOCOL_ERROR instead of the one that the RFC has for it.
GENERAL = {
    "a header block that is no HPACK",
    "an index beyond the table",
    "a table larger than agreed",
    "settings of a wrong size",
    "an acknowledgement with settings",
    "a first window beyond the most",
    "a ping of a wrong size",
}


def judge(came, expected, errors):
    connection = came["goaway"] in errors or (came["closed"] and came["goaway"] in (None, 0))
    refused = [code for code in came["status"].values() if code and code >= "400"]
    stream = bool(set(came["resets"].values()) & errors) or bool(refused)
    served = any(code < "300" for code in came["status"].values() if code)
    if expected == "connection":
        return connection
    if expected == "stream":
        return (stream or connection) and not served
    return stream or connection or served


failed = 0
for name, (sent, expected, errors) in CASES.items():
    came = talk(sent)
    good = judge(came, expected, errors | ({PROTOCOL} if name in GENERAL else set()))
    failed += not good
    print("well" if good else "FAILED", name, came)
came = talk(headers(GOOD))
alive = came["status"].get(1) == "200"
print(len(CASES), "cases,", failed, "failed,", "alive" if alive else f"dead {came}")
