"""An app that speaks WebSocket, without TLS: says what it is asked, and sends every message back."""

import asyncio
import sys

import websockets


async def asked(path, headers):
    names = ("X-Auth-User", "Authorization", "Sec-WebSocket-Protocol")
    print("asked", path, *(headers.get(name, "-") for name in names), flush=True)


async def echo(socket):
    try:
        async for message in socket:
            await socket.send(message)
    except websockets.ConnectionClosedError:
        print("broken off", flush=True)


async def main():
    serving = websockets.serve(echo, "127.0.0.1", 0, process_request=asked, subprotocols=["chat"])
    async with serving as server:
        print("port", server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
