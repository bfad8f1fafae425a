"""A client of WebSocket: opens one through the gateway, sends messages of each kind, and stays until it
is closed. Says as JSON what came of it, a line for each.

python3 client.py URL CA {header|protocol} [TOKEN]"""

import asyncio
import json
import ssl
import sys

import websockets

url, authority, way, *token = sys.argv[1:]
trusted = ssl.create_default_context(cafile=authority)
headers = {"Authorization": "Bearer " + token[0]} if token and way == "header" else {}
protocols = ["bearer", *token, "chat"] if token and way == "protocol" else ["chat"]
MESSAGES = (
    "größe",
    "",
    bytes(range(256)),
    b"large" * 50_000,
    ["in ", "three ", "pieces"],
    [b"\0", b"\xff"],
)


def say(**what):
    print(json.dumps(what), flush=True)


async def main():
    opening = websockets.connect(url, ssl=trusted, extra_headers=headers, subprotocols=protocols)
    try:
        socket = await opening
    except websockets.InvalidStatusCode as refusal:
        return say(refused=refusal.status_code, challenge=refusal.headers.get("www-authenticate"))
    for message in MESSAGES:
        await socket.send(message)
        whole = message if isinstance(message, (str, bytes)) else message[0][:0].join(message)
        if await socket.recv() != whole:
            return say(wrong=repr(message[:10]))
    await (await socket.ping())
    say(echoed=len(MESSAGES), protocol=socket.subprotocol)
    await socket.wait_closed()
    say(closed=socket.close_code)


asyncio.run(main())
