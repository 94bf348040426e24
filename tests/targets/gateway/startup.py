"""How the demo's servers start: on a free loopback port, announced as one JSON line."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

from aiohttp import web

HOST = "127.0.0.1"


async def serve(app: web.Application, port: int, exit_with_stdin: bool, **announce) -> None:
    """Serves until SIGINT or SIGTERM or, if asked, until stdin closes."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, HOST, port)
    await site.start()
    bound_port = runner.addresses[0][1]

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if exit_with_stdin:
        loop.add_reader(0, lambda: os.read(0, 4096) or (loop.remove_reader(0), stop.set()))

    ready = {"ready": True, "host": HOST, "port": bound_port, "pid": os.getpid(), **announce}
    print(json.dumps(ready), flush=True)
    try:
        await stop.wait()
    finally:
        await runner.cleanup()
        sys.stdout.flush()
