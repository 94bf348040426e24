"""A load on the demo gateway: open loop at a fixed rate, bounded in time, count and concurrency.

Turns start on schedule whether or not earlier ones have ended; one that would exceed the
allowed concurrency is skipped and counted. Stops by itself, and prints a summary as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from urllib.parse import urlsplit

import aiohttp

# Far more prompts than the gateway caches, so that its cache keeps turning over.
PROMPTS = 1000
# Every n-th turn reads the session back, compressed.
READ_BACK_EVERY = 4


class Load:
    def __init__(self, client: aiohttp.ClientSession, args: argparse.Namespace) -> None:
        self.client = client
        self.args = args
        self.rng = random.Random(args.seed)
        self.running: set[asyncio.Task] = set()
        self.done = self.failed = self.skipped = self.received_bytes = 0

    async def run(self) -> dict:
        begin = time.monotonic()
        for number in range(self.args.max_turns):
            due = number / self.args.rate
            if due >= self.args.duration:
                break
            await asyncio.sleep(max(0.0, begin + due - time.monotonic()))
            if time.monotonic() - begin >= self.args.duration:
                break
            self.start(number)
        if self.running:
            await asyncio.wait(self.running, timeout=10)
        return {
            "turns": self.done,
            "failed": self.failed,
            "skipped": self.skipped,
            "received_bytes": self.received_bytes,
            "seconds": round(time.monotonic() - begin, 3),
        }

    def start(self, number: int) -> None:
        if len(self.running) >= self.args.concurrency:
            self.skipped += 1
            return
        task = asyncio.create_task(self.turn(number))
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    async def turn(self, number: int) -> None:
        session = f"{self.args.gateway_url}/sessions/s{number % self.args.sessions}"
        prompt = f"prompt {self.rng.randrange(PROMPTS)} about a gateway and its memory"
        try:
            async with self.client.post(f"{session}/messages", json={"prompt": prompt}) as reply:
                reply.raise_for_status()
                async for chunk in reply.content.iter_any():
                    self.received_bytes += len(chunk)
            if number % READ_BACK_EVERY == 0:
                async with self.client.get(session) as history:
                    history.raise_for_status()
                    await history.json()
            self.done += 1
        except (aiohttp.ClientError, asyncio.TimeoutError):
            self.failed += 1


def loopback_url(text: str) -> str:
    if urlsplit(text).hostname not in ("127.0.0.1", "::1", "localhost"):
        raise argparse.ArgumentTypeError("only loopback may be loaded")
    return text.rstrip("/")


async def run(args: argparse.Namespace) -> dict:
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout) as client:
        return await Load(client, args).run()


def main() -> None:
    parser = argparse.ArgumentParser(description="A bounded load on the demo gateway.")
    parser.add_argument("--gateway-url", required=True, type=loopback_url)
    parser.add_argument("--rate", type=float, default=22.0, help="turns started per second")
    parser.add_argument("--concurrency", type=int, default=12, help="turns at once")
    parser.add_argument("--duration", type=float, default=60.0, help="seconds")
    parser.add_argument("--max-turns", type=int, default=20_000)
    parser.add_argument("--sessions", type=int, default=16, help="sessions, reused in turn")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print(json.dumps(asyncio.run(run(args))), flush=True)


if __name__ == "__main__":
    main()
