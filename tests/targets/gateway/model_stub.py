"""A stand-in for a model: streams made-up text over server-sent events, on loopback only."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random

from aiohttp import web

from startup import serve

DELTA_BYTES = 2048
# 4 to 32 deltas of 2 KiB: replies of 8 to 64 KiB, 36 KiB on average.
MIN_DELTAS, MAX_DELTAS = 4, 32
PACE_S = 0.004
WORDS = "session message buffer stream reply token context window memory flush turn model".split()


def make_delta(rng: random.Random) -> str:
    text = ""
    while len(text) < DELTA_BYTES:
        text += rng.choice(WORDS) + " "
    return text[:DELTA_BYTES]


class Model:
    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.deltas = [make_delta(self.rng) for _ in range(64)]

    async def complete(self, request: web.Request) -> web.StreamResponse:
        await request.json()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        # A gateway that hangs up wants no more, and is no fault of ours.
        with contextlib.suppress(ConnectionResetError):
            await response.prepare(request)
            for _ in range(self.rng.randint(MIN_DELTAS, MAX_DELTAS)):
                await self.send(response, self.rng.choice(self.deltas))
                await asyncio.sleep(PACE_S)
            # The blank deltas that real models like to end with.
            for _ in range(2):
                await self.send(response, "\n")
            await response.write(b"data: [DONE]\n\n")
            await response.write_eof()
        return response

    async def send(self, response: web.StreamResponse, delta: str) -> None:
        await response.write(f"data: {json.dumps({'delta': delta})}\n\n".encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--exit-with-stdin", action="store_true", help="stop when stdin closes")
    args = parser.parse_args()

    app = web.Application()
    app.router.add_post("/v1/complete", Model(args.seed).complete)
    asyncio.run(serve(app, args.port, args.exit_with_stdin))


if __name__ == "__main__":
    main()
