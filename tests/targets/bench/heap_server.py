"""A small HTTP server with a heap of a given size: `heap_server.py MEGABYTES`.

Its heap is dicts, lists and texts of a hundred bytes, as of a server that keeps sessions. It
announces its port as one JSON line when the heap is there. Each line on stdin is answered with the
longest time, since the last such line, that its loop did not run though it was due (a loop that
wakes once a millisecond), and how many requests it answered; the end of stdin ends it.
"""

import asyncio
import gc
import json
import os
import sys
import time

HOST = "127.0.0.1"
BEAT_S = 0.001
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
MESSAGES_PER_SESSION = 50


class Session:
    def __init__(self, number):
        self.number = number
        self.messages = [
            {"at": number * 1000 + at, "text": "message %d of session %d, in which little is said" % (at, number)}
            for at in range(MESSAGES_PER_SESSION)
        ]


class Gateway:
    def __init__(self):
        self.sessions = {}

    def fill(self, bytes_wanted):
        number = 0
        while resident_bytes() < bytes_wanted:
            for number in range(number, number + 200):
                self.sessions["session-%d" % number] = Session(number)
            number += 1


def resident_bytes():
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * 4096


class Beat:
    """Notices when the loop does not run."""

    def __init__(self, loop):
        self.loop = loop
        self.longest_s = 0.0
        self.due = time.monotonic() + BEAT_S
        loop.call_later(BEAT_S, self.beat)

    def beat(self):
        now = time.monotonic()
        self.longest_s = max(self.longest_s, now - self.due)
        self.due = now + BEAT_S
        self.loop.call_later(BEAT_S, self.beat)


class Door(asyncio.Protocol):
    answered = 0

    def connection_made(self, transport):
        self.transport = transport
        self.waiting = b""

    def data_received(self, data):
        self.waiting += data
        while b"\r\n\r\n" in self.waiting:
            _, self.waiting = self.waiting.split(b"\r\n\r\n", 1)
            Door.answered += 1
            self.transport.write(ANSWER)


GATEWAY = Gateway()


async def main():
    gc.disable()
    GATEWAY.fill(int(sys.argv[1]) << 20)
    gc.freeze()
    gc.enable()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Door, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    stop = asyncio.Event()
    beat = Beat(loop)

    def asked():
        line = os.read(0, 4096)
        if not line:
            loop.remove_reader(0)
            stop.set()
        if not line.endswith(b"\n"):
            return
        said = {"longest_pause_ms": beat.longest_s * 1000, "answered": Door.answered}
        print(json.dumps(said), flush=True)
        beat.longest_s = 0.0

    loop.add_reader(0, asked)
    ready = {"port": port, "pid": os.getpid(), "resident_bytes": resident_bytes()}
    print(json.dumps({"ready": True, **ready}), flush=True)
    await stop.wait()
    # Taking a gigabyte apart piece by piece helps nobody.
    os._exit(0)


asyncio.run(main())
