"""An aiohttp server: GET /json answers with a document of some 12 KB made anew each time, GET /stream
with eight pieces of 2 KiB. Prints its port as JSON, serves until its stdin closes."""

import asyncio
import json
import os
import sys

from aiohttp import web

ITEMS = 80
PIECES = 8
PIECE_BYTES = 2048


def document(number):
    return {
        "number": number,
        "items": [
            {"id": number * ITEMS + i, "name": f"item {i} of {number}", "text": "words " * 12}
            for i in range(ITEMS)
        ],
    }


class Server:
    def __init__(self):
        self.answered = 0

    async def json(self, request):
        self.answered += 1
        return web.json_response(body=json.dumps(document(self.answered)).encode())

    async def stream(self, request):
        self.answered += 1
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in range(PIECES):
            await response.write(str(piece).encode() * PIECE_BYTES)
        await response.write_eof()
        return response


async def end_of_stdin():
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while await reader.read(4096):
        pass


async def main():
    server = Server()
    app = web.Application()
    app.add_routes([web.get("/json", server.json), web.get("/stream", server.stream)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    print(json.dumps({"port": port, "pid": os.getpid()}), flush=True)
    await end_of_stdin()
    await runner.cleanup()


asyncio.run(main())
