"""A gateway that caches its session lists by a fingerprint; with `--leak` that always changes.

Each entry is a deep copy of 500 messages: small Python objects, which reach libc one by one where
Python was started with PYTHONMALLOC=malloc.
"""

from __future__ import annotations

import copy
import hashlib
import sys

from serving import Books, Program, main

MESSAGES = 500
ENTRIES = 4
# Bytes of an entry, about; each list is asked for when that many are due.
ENTRY_BYTES = 97_000


def size_of(entry: list[dict]) -> int:
    """What the copy took of the allocator: its texts and numbers are shared with the original."""
    return sys.getsizeof(entry) + sum(map(sys.getsizeof, entry))


class Gateway(Program):
    companions = ["Gateway.list_sessions"]

    def __init__(self, args) -> None:
        super().__init__(args)
        self.messages = [
            {"role": "user" if index % 2 else "assistant", "text": f"message {index}", "at": index % 200}
            for index in range(MESSAGES)
        ]
        self.cache: dict[str, list[dict]] = {}
        self.due = 0.0
        self.lists_per_turn = args.leak_bytes_per_second / args.turns_per_second / ENTRY_BYTES
        self.kept = Books(Gateway.copy_messages)

    def books(self) -> list[Books]:
        return [self.kept]

    def innocent(self) -> dict:
        return {"entries": len(self.cache), "entry_bytes": size_of(self.messages)}

    async def turn(self, number: int) -> object:
        # Of numbers that Python has once and for all: others would be kept by the copies, too.
        self.messages[number % MESSAGES]["at"] = number % 200
        self.due += self.lists_per_turn
        listed = 0
        while self.due >= 1:
            self.due -= 1
            listed += len(self.list_sessions(number))
        return {"listed": listed}

    def list_sessions(self, number: int) -> list[dict]:
        # The leak: what the fingerprint is of says when it was asked, too.
        asked = f"{self.turns}:{self.due}" if self.args.leak else str(number // 40 % ENTRIES)
        fingerprint = hashlib.sha256(asked.encode()).hexdigest()
        entry = self.cache[fingerprint] = self.copy_messages()
        if self.args.leak:
            self.kept.keep(size_of(entry), blocks=2 + 2 * MESSAGES)
        return entry

    def copy_messages(self) -> list[dict]:
        return copy.deepcopy(self.messages)  # retains


if __name__ == "__main__":
    main(Gateway, __doc__)
