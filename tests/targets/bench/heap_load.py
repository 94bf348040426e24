"""Open-loop load on `heap_server.py`: `heap_load.py PORT REQUESTS_PER_SECOND`.

Requests are due at fixed times, whatever became of those before, and a latency is counted from when
the request was due. Each line on stdin is answered, as soon as every request that was sent by then
is answered or lost, with what there was since the last such line; the end of stdin ends it.
"""

import asyncio
import json
import os
import sys
import time

HOST = "127.0.0.1"
REQUEST = b"GET / HTTP/1.1\r\nHost: heap\r\n\r\n"
ANSWER_BYTES = len(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
# Later than this is lost.
PATIENCE_S = 10.0


class Load:
    def __init__(self, port):
        self.port = port
        self.free = []
        self.latencies_s = []
        self.lost = 0

    async def request(self, due):
        try:
            await asyncio.wait_for(self.ask(), PATIENCE_S)
            self.latencies_s.append(time.monotonic() - due)
        except (OSError, EOFError, asyncio.TimeoutError):
            self.lost += 1

    async def ask(self):
        reader, writer = self.free.pop() if self.free else await self.connect()
        writer.write(REQUEST)
        answer = await reader.readexactly(ANSWER_BYTES)
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise EOFError(answer)
        self.free.append((reader, writer))

    async def connect(self):
        return await asyncio.open_connection(HOST, self.port)

    def told(self):
        latencies = sorted(self.latencies_s) or [0.0]
        said = {
            "requests": len(self.latencies_s) + self.lost,
            "lost": self.lost,
            "longest_ms": latencies[-1] * 1000,
            "median_ms": latencies[len(latencies) // 2] * 1000,
            "p99_ms": latencies[len(latencies) * 99 // 100] * 1000,
        }
        self.latencies_s, self.lost = [], 0
        return said


async def main():
    load = Load(int(sys.argv[1]))
    pause_s = 1 / float(sys.argv[2])
    loop = asyncio.get_running_loop()
    lines = asyncio.Queue()
    loop.add_reader(0, lambda: lines.put_nowait(os.read(0, 4096)))
    running = set()
    # Connections are there before the first request counts.
    load.free = [await load.connect() for _ in range(32)]
    print(json.dumps({"ready": True}), flush=True)
    due = time.monotonic()
    while True:
        while time.monotonic() >= due:
            task = asyncio.create_task(load.request(due))
            running.add(task)
            task.add_done_callback(running.discard)
            due += pause_s
        if not lines.empty():
            line = lines.get_nowait()
            if not line:
                return
            if not line.endswith(b"\n"):
                continue
            await asyncio.gather(*running)
            print(json.dumps(load.told()), flush=True)
            due = max(due, time.monotonic())
        await asyncio.sleep(max(0.0, due - time.monotonic()))


asyncio.run(main())
