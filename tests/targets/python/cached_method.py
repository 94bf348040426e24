"""A server with a cached method that is asked with a new object each time, so that no answer is ever
found again and none ever goes: functools.lru_cache(None) on a bound method. What is cached holds
the documents of the requests, whose bytes the JSON parser allocated.

With `--bounded` the cache is bounded, and full when the server is ready. It loads itself over
loopback, open loop. Announces its port as one JSON line; each line on stdin is answered with the
truth; the end of stdin ends it. Needs aiohttp.
"""

import asyncio
import functools
import json
import os
import sys
import time

from aiohttp import web

HOST = "127.0.0.1"
TURN_S = 0.05
# Texts of a document: each beyond what Python's own allocator serves.
TEXTS = 8
TEXT_BYTES = 2500
BOUND = 64 if "--bounded" in sys.argv[1:] else None


class Query:
    """Equal to itself only."""

    def __init__(self, document):
        self.document = document


class Catalogue:
    def __init__(self):
        self.name = "the catalogue"

    @functools.lru_cache(BOUND)
    def look_up(self, query):
        return {"texts": len(query.document["texts"]), "of": self.name}


class Server:
    def __init__(self):
        self.catalogue = Catalogue()
        self.requests = 0

    async def post_query(self, request):
        document = await request.json()
        self.requests += 1
        return web.json_response(self.catalogue.look_up(Query(document)))

    def truth(self):
        held = Catalogue.look_up.cache_info().currsize
        return {"entries": held, "requests": self.requests, "at_ns": time.monotonic_ns()}


async def load(port):
    body = json.dumps({"texts": ["%d" % n + "t" * TEXT_BYTES for n in range(TEXTS)]}).encode()
    head = "POST /query HTTP/1.1\r\nHost: cached\r\nContent-Type: application/json\r\n"
    request = head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body
    reader, writer = await asyncio.open_connection(HOST, port)
    due = time.monotonic()
    while True:
        writer.write(request)
        answer = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in answer.split(b"\r\n", 1)[0]:
            sys.exit("the server answers its load: %r" % answer)
        length = next(line for line in answer.lower().split(b"\r\n") if b"content-length" in line)
        await reader.readexactly(int(length.split(b":")[1]))
        due = max(due + TURN_S, time.monotonic() - 1)
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def main():
    server = Server()
    for _ in range(BOUND or 0):
        server.catalogue.look_up(Query({"texts": []}))
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def asked():
        if not os.read(0, 4096):
            loop.remove_reader(0)
            stop.set()
        else:
            print(json.dumps(server.truth()), flush=True)

    loop.add_reader(0, asked)
    app = web.Application()
    app.router.add_post("/query", server.post_query)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    port = runner.addresses[0][1]
    print(json.dumps({"ready": True, "port": port, "pid": os.getpid()}), flush=True)
    loading = asyncio.create_task(load(port))
    await stop.wait()
    loading.cancel()
    await runner.cleanup()


asyncio.run(main())
