"""What the servers of the corpus share: their options, their door, their load, and their books.

A server announces itself as one JSON line, serves on loopback, and ends with its stdin:

    POST /turn     one unit of its work
    GET  /truth    what it really holds, see `Books`

Unless `--no-load` is given it loads itself: a task sends POST /turn over loopback, open loop, so
that one process is all that there is to a program. `drive.py` does so from outside.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import inspect
import json
import os
import random
import sys
import time

from aiohttp import web

HOST = "127.0.0.1"
# A load that fell behind by more than this leaves out what it has missed.
MAX_BEHIND_S = 2.0
# Scratch buffers: below the size from which malloc maps each by itself.
SCRATCH_BYTES = (16 * 1024, 112 * 1024)
# Those that are in use at one time, about 2 MB.
SCRATCH_SLOTS = 32


class Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
        )
    ]


_libc = ctypes.CDLL(None)
_libc.mallinfo2.restype = Mallinfo2


def libc_bytes() -> int:
    """Bytes that glibc's malloc has handed out, its own rounding included: a second witness."""
    info = _libc.mallinfo2()
    return info.uordblks + info.hblkhd


def options(description: str, turns_per_s: float) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--leak", action="store_true", help="keep what should go")
    parser.add_argument("--leak-bytes-per-second", type=float, default=1e6)
    parser.add_argument("--churn-bytes-per-second", type=float, default=2e6)
    parser.add_argument("--turns-per-second", type=float, default=turns_per_s)
    parser.add_argument("--no-load", action="store_true", help="wait to be driven")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--seed", type=int, default=1)
    return parser


class Books:
    """What is retained, by the line that allocates it: bytes as the allocator was asked for them.

    `last_ns` is when the latest was kept (CLOCK_MONOTONIC), so that a rate can be told from one
    piece to another, whatever the moments at which one asks.
    """

    def __init__(self, function, mark: str = "# retains") -> None:
        lines, first = inspect.getsourcelines(function)
        marked = [first + index for index, line in enumerate(lines) if mark in line]
        self.place = {
            "function": function.__qualname__,
            "file": function.__code__.co_filename,
            "lines": marked,
        }
        self.bytes = self.blocks = self.last_ns = 0

    def keep(self, size_bytes: int, blocks: int = 1) -> None:
        self.bytes += size_bytes
        self.blocks += blocks
        self.last_ns = time.monotonic_ns()

    def told(self) -> dict:
        return {
            **self.place, "bytes": self.bytes, "blocks": self.blocks, "last_ns": self.last_ns
        }


class Churn:
    """Buffers that each turn takes and that the turns after it give back: innocent traffic."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.bytes_per_turn = args.churn_bytes_per_second / args.turns_per_second
        self.rng = random.Random(args.seed + 1)
        self.slots: list[bytearray | None] = [None] * SCRATCH_SLOTS
        self.due_bytes = 0.0
        self.count = self.bytes = 0

    def turn(self) -> None:
        self.due_bytes += self.bytes_per_turn
        while self.due_bytes > 0:
            size_bytes = self.rng.randint(*SCRATCH_BYTES)
            self.slots[self.count % SCRATCH_SLOTS] = bytearray(size_bytes)
            self.count += 1
            self.bytes += size_bytes
            self.due_bytes -= size_bytes


class Program:
    """One server: `turn` is its work, `books` what its leak keeps."""

    # Functions that hold on to what leaks (a list that grows with it): no innocents.
    companions: list[str] = []

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.churn = Churn(args)
        self.rng = random.Random(args.seed)
        self.turns = 0
        self.began_s = time.monotonic()

    # -- what a program defines -----------------------------------------------------------

    def books(self) -> list[Books]:
        return []

    def innocent(self) -> dict:
        """What is held and bounded."""
        return {}

    async def turn(self, number: int) -> object:
        raise NotImplementedError

    # -- what is the same for all ----------------------------------------------------------

    def truth(self) -> dict:
        return {
            "leak": self.args.leak,
            "now_ns": time.monotonic_ns(),
            "turns": self.turns,
            "retained": [one.told() for one in self.books()],
            "companions": self.companions,
            "innocent": self.innocent(),
            "churned_bytes": self.churn.bytes,
            "libc_bytes": libc_bytes(),
        }

    async def take_turn(self) -> object:
        self.turns += 1
        self.churn.turn()
        return await self.turn(self.turns)

    async def post_turn(self, request: web.Request) -> web.Response:
        await request.read()
        return web.json_response(await self.take_turn())

    async def get_truth(self, _request: web.Request) -> web.Response:
        return web.json_response(self.truth())

    async def serve(self) -> None:
        app = web.Application()
        app.router.add_post("/turn", self.post_turn)
        app.router.add_get("/truth", self.get_truth)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, HOST, self.args.port).start()
        await until_the_end(self.args, runner.addresses[0][1])
        await runner.cleanup()


async def until_the_end(args: argparse.Namespace, port: int) -> None:
    """Announces the port, and loads it until stdin closes."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # A stdin that cannot be watched (a file, /dev/null) is at its end, and nobody will close it.
    with contextlib.suppress(PermissionError):
        loop.add_reader(0, lambda: os.read(0, 4096) or (loop.remove_reader(0), stop.set()))
    print(json.dumps({"ready": True, "host": HOST, "port": port, "pid": os.getpid()}), flush=True)
    load = None if args.no_load else asyncio.create_task(Load(port, args).run())
    await stop.wait()
    if load:
        load.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await load


class Load:
    """POST /turn at a fixed rate over one connection that stays open."""

    REQUEST = b"POST /turn HTTP/1.1\r\nHost: corpus\r\nContent-Length: 2\r\n\r\n{}"

    def __init__(self, port: int, args: argparse.Namespace) -> None:
        self.port = port
        self.pause_s = 1 / args.turns_per_second

    async def run(self) -> None:
        reader, writer = await asyncio.open_connection(HOST, self.port)
        due = time.monotonic()
        while True:
            due = max(due + self.pause_s, time.monotonic() - MAX_BEHIND_S)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            writer.write(self.REQUEST)
            await self.read_answer(reader)

    async def read_answer(self, reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            sys.exit(f"the server answers its load: {head!r}")
        length = next(line for line in head.lower().split(b"\r\n") if b"content-length" in line)
        await reader.readexactly(int(length.split(b":")[1]))


def main(program: type[Program], description: str, turns_per_s: float = 20.0, **extra) -> None:
    parser = options(description, turns_per_s)
    for name, default in extra.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    args = parser.parse_args()
    asyncio.run(program(args).serve())
