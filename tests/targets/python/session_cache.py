"""A server that keeps session lists below a key that changes at every write: with `--leak` no entry
is ever written again, without it they are replaced. All it keeps are small objects, below what
Python's allocator leaves to malloc, so no probe sees one of them be made.

It serves itself a turn every 20 ms. Announces itself as one JSON line; each line on stdin is
answered with the truth; the end of stdin ends it.
"""

import asyncio
import hashlib
import json
import os
import sys
import time

TURN_S = 0.02
SESSIONS = 4
# An entry: so many messages, all small.
MESSAGES = 40


class SessionLists:
    """What was listed last, by session and a fingerprint of its state."""

    def __init__(self, leak):
        self.leak = leak
        self._lists = {}
        self.writes = 0

    def fingerprint(self, session):
        # The leak: what it is made of says when it was written, too.
        state = "%d:%d" % (session, self.writes if self.leak else 0)
        return hashlib.sha256(state.encode()).hexdigest()

    def write(self, session, listed):
        self.writes += 1
        self._lists[self.fingerprint(session)] = listed

    def __len__(self):
        return len(self._lists)


class Gateway:
    def __init__(self, leak):
        self.lists = SessionLists(leak)
        self.messages = [
            ["message %d" % number for number in range(MESSAGES)] for _ in range(SESSIONS)
        ]
        self.turns = 0

    def list_session(self, session):
        """Copies the session's messages: the one that allocates, and no culprit."""
        return [
            (number, "%s, %d characters" % (text, len(text)))
            for number, text in enumerate(self.messages[session])
        ]

    def turn(self):
        self.turns += 1
        session = self.turns % SESSIONS
        self.lists.write(session, self.list_session(session))


GATEWAY = Gateway("--leak" in sys.argv[1:])


async def main():
    gateway = GATEWAY
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def asked():
        if not os.read(0, 4096):
            loop.remove_reader(0)
            stop.set()
            return
        held = {"entries": len(gateway.lists), "turns": gateway.turns, "at_ns": time.monotonic_ns()}
        print(json.dumps(held), flush=True)

    loop.add_reader(0, asked)
    print(json.dumps({"ready": True, "pid": os.getpid()}), flush=True)
    due = time.monotonic()
    while not stop.is_set():
        gateway.turn()
        due = max(due + TURN_S, time.monotonic() - 1)
        await asyncio.sleep(max(0.0, due - time.monotonic()))


asyncio.run(main())
