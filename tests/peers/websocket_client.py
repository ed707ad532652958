"""Sends a mebibyte in fragments to the server at argv[1], pings it, and has it close. Prints what came of it."""

import asyncio
import os
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


async def main():
    async with connect(sys.argv[1], max_size=2**21, ping_interval=None) as connection:
        fragments = [os.urandom(2**16) for _ in range(16)]
        await connection.send(fragments)
        reply = await connection.recv()
        assert reply == b"".join(fragments), "the echo differs"
        print("echoed", len(reply), "bytes")
        await (await connection.ping())
        print("ponged")
        await connection.send("close")
        try:
            await connection.recv()
        except ConnectionClosed as closed:
            print("closed", closed.rcvd.code, closed.rcvd.reason)


asyncio.run(asyncio.wait_for(main(), 30))
