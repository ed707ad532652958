"""Computes the vectors of golden.rs apart from the code that they test, from the formats as they are documented.

    python3 ledger/tests/golden.py        (needs the package `cryptography`)

prints them. Nothing runs this but whoever changes a format.
"""

import math
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NETWORK = b"sixteen bytes id"
ISSUED = 1_800_000_000_000
SALT = 0x0102030405060708


def be(number, size):
    return number.to_bytes(size, "big")


def field(tag, value):
    return bytes([tag]) + be(len(value), 2) + value


def key(n):
    return Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)


def node(n):
    return key(n).public_key().public_bytes_raw()


class Record:
    def __init__(self, n, seq, name, ttl=60):
        self.body = b"".join([
            field(1, b"\1"), field(2, NETWORK), field(3, be(0, 4)), field(4, node(n)), field(5, be(seq, 8)),
            field(6, be(ISSUED, 8)), field(7, be(ttl, 4)), field(8, b"\0"), field(9, name),
        ])
        signed = b"p2p-fed/record/v1\0" + self.body
        self.n, self.seq, self.id = n, seq, sha256(signed).digest()
        self.bytes = self.body + key(n).sign(signed)


def lease(n, record_id, number, ttl):
    body = node(n) + record_id[:16] + be(number, 8) + be(ttl, 4)
    return body + key(n).sign(b"p2p-fed/lease/v1\0" + body)


def packed(rumours):
    return b"".join(be(len(rumour), 2) + rumour for rumour in rumours)


def element(record, number, quarantined):
    mark = sha256(b"p2p-fed/quarantine/v1\0" + node(record.n)).digest() if quarantined else bytes(32)
    tag = bytes(a ^ b for a, b in zip(record.id[:4], mark))
    return node(record.n)[:8] + tag + be(number, 8)


def symbols(elements, salt, count):
    sums, checks, counts = [bytes(20)] * count, [0] * count, [0] * count
    for element in elements:
        digest = sha256(b"p2p-fed/sketch/v1\0" + be(salt, 8) + element).digest()
        state, at = int.from_bytes(digest[4:12], "big"), 0
        while at < count:
            sums[at] = bytes(a ^ b for a, b in zip(sums[at], element))
            checks[at] ^= int.from_bytes(digest[:4], "big")
            counts[at] += 1
            # SplitMix64.
            mask = (1 << 64) - 1
            state = (state + 0x9E3779B97F4A7C15) & mask
            z = state
            z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
            z ^= z >> 31
            u = ((z >> 11) + 1) / (1 << 53)
            at += max(1, math.ceil((at + 1.5) * (1.0 / math.sqrt(u) - 1.0)))
    return b"".join(s + be(c, 4) + be(n, 2) for s, c, n in zip(sums, checks, counts))


def vectors():
    plain = Record(0x31, 7, b"plain")
    renewed = Record(0x32, 1, b"renewed")
    its_lease = lease(0x32, renewed.id, 9, 420)
    one, other = Record(0x33, 5, b"one"), Record(0x33, 5, b"other")
    first, second = sorted([one, other], key=lambda record: record.id)
    evidence = b"\2" + be(len(first.bytes), 2) + first.bytes + second.bytes
    yield "LEASE", its_lease
    yield "EVIDENCE", evidence
    yield "EVIDENCE_MESSAGE", sha256(evidence).digest()[:16]

    # Of two records with one number, the one with the greater id is held.
    held = [(plain, 7, False), (renewed, 9, False), (second, 5, True)]
    total = 0
    for record, number, quarantined in held:
        summand = b"p2p-fed/summand/v1\0" + record.id + be(number, 8) + bytes([quarantined])
        total += int.from_bytes(sha256(summand).digest()[:16], "big")
    yield "HELLO", b"\1" + be(3, 4) + be(total % (1 << 128), 16) + be(0, 8)
    yield "SYMBOLS", symbols([element(*entry) for entry in held], SALT, 12)

    told = {
        0x31: [b"\1" + plain.bytes],
        0x32: [b"\5" + its_lease + renewed.bytes],
        0x33: [b"\1" + second.bytes, evidence],
    }
    order = sorted(told, key=node)
    prefix = lambda n: node(n)[:8]
    yield "WANT", b"\4" + b"".join(prefix(n) + b"\2" for n in order)
    yield "RECORDS", b"\5" + packed(rumour for n in order for rumour in told[n])
    yield "WANT_LEASE", b"\4" + prefix(0x32) + b"\1"
    yield "RECORDS_LEASE", b"\5" + packed([b"\3" + its_lease])
    yield "TURN", b"\7" + node(order[0])
    yield "PAGE", b"\x08\0" + packed(rumour for n in order[1:] for rumour in told[n])
    yield "ITEM", b"\1" + be(ISSUED + 420_000, 8) + b"\0" + packed(told[0x32])

    # A record by the ledger's own hand, numbered by the clock, and the lease that follows it.
    own = Record(0x34, ISSUED, b"own", 420)
    yield "OWN", b"\1" + own.bytes
    yield "OWN_LEASE", b"\5" + packed([b"\3" + lease(0x34, own.id, ISSUED + 1, 420)])

    # A decree that decides nothing, in a network with an issuer.
    body = b"".join([field(1, b"\1"), field(2, NETWORK), field(3, be(7, 8)), field(4, be(ISSUED, 8)), field(5, b""), field(6, b"")])
    decree = body + key(9).sign(b"p2p-fed/decree/v1\0" + body)
    yield "DECREE_HELLO", b"\1" + bytes(20) + be(7, 8)
    yield "WANT_DECREE", b"\4" + bytes(8) + b"\3"
    yield "RECORDS_DECREE", b"\5" + packed([b"\4" + decree])
    yield "DECREE_ITEM", b"\3" + be(0, 8) + decree


for name, value in vectors():
    print(name, value.hex())
