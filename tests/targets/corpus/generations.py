"""Innocent: a cache that is thrown away whole, generation by generation, every 75 seconds."""

from __future__ import annotations

from serving import Program, main

ENTRY_BYTES = 12_000
ENTRIES_PER_TURN = 2


class Service(Program):
    def __init__(self, args) -> None:
        super().__init__(args)
        self.turns_of_a_generation = int(args.period_seconds * args.turns_per_second)
        self.generation: dict[int, bytes] = {}
        self.generations = 0

    def innocent(self) -> dict:
        return {"entries": len(self.generation), "generations": self.generations}

    async def turn(self, number: int) -> object:
        if number % self.turns_of_a_generation == 0:
            self.generation = {}
            self.generations += 1
        for index in range(ENTRIES_PER_TURN):
            self.generation[number * ENTRIES_PER_TURN + index] = self.make_entry(number)
        return {"entries": len(self.generation)}

    def make_entry(self, number: int) -> bytes:
        return bytes([number % 256]) * ENTRY_BYTES


if __name__ == "__main__":
    main(Service, __doc__, period_seconds=75.0)
