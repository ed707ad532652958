"""Echoes each message; told to `close`, closes with a code of its own. Prints the port that it listens on."""

import asyncio

from websockets.asyncio.server import serve


async def echo(connection):
    async for message in connection:
        if message == "close":
            await connection.close(4321, "as agreed")
            return
        else:
            await connection.send(message)


async def main():
    async with serve(echo, "127.0.0.1", 0, max_size=2**21) as server:
        print("port", server.sockets[0].getsockname()[1])
        await server.serve_forever()


asyncio.run(main())
