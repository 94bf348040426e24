"""Innocent: a table is loaded in a burst of five seconds, stays, and nothing more comes."""

from __future__ import annotations

import time

from serving import Program, main

SECONDS = 5.0
ROW_BYTES = 8_000
ROWS_PER_TURN = 16


class Service(Program):
    def __init__(self, args) -> None:
        super().__init__(args)
        self.table: list[bytes] = []

    def innocent(self) -> dict:
        return {"rows": len(self.table), "bytes": sum(map(len, self.table))}

    async def turn(self, number: int) -> object:
        age_s = time.monotonic() - self.began_s
        if 0 <= age_s - self.args.burst_at < SECONDS:
            for _ in range(ROWS_PER_TURN):
                self.table.append(self.load_row(number))
        return {"rows": len(self.table)}

    def load_row(self, number: int) -> bytes:
        return bytes([number % 256]) * ROW_BYTES


if __name__ == "__main__":
    main(Service, __doc__, burst_at=14.0)
