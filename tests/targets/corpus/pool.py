"""Innocent: a pool of buffers, each made when its slot is first used; bounded by its slots.

Requests are spread over the slots at random, so the pool fills ever more slowly: what is missing
falls by a factor of e every SLOTS / USES_PER_TURN turns.
"""

from __future__ import annotations

from serving import Program, main

SLOTS = 600
USES_PER_TURN = 1
BUFFER_BYTES = 48_000


class Service(Program):
    def __init__(self, args) -> None:
        super().__init__(args)
        self.slots: list[bytearray | None] = [None] * SLOTS

    def innocent(self) -> dict:
        made = sum(one is not None for one in self.slots)
        return {"buffers": made, "slots": SLOTS, "bytes": made * BUFFER_BYTES}

    async def turn(self, number: int) -> object:
        for _ in range(USES_PER_TURN):
            slot = self.rng.randrange(SLOTS)
            if self.slots[slot] is None:
                self.slots[slot] = self.make_buffer()
            self.slots[slot][number % BUFFER_BYTES] = number % 256
        return {"slot": slot}

    def make_buffer(self) -> bytearray:
        return bytearray(BUFFER_BYTES)


if __name__ == "__main__":
    main(Service, __doc__)
