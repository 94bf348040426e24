"""A gateway whose codec, a C extension, forgets a decref with `--leak`. See codec.c.

`--codec FOLDER` is where the extension was built.
"""

from __future__ import annotations

import sys

from serving import Books, Program, main

# A message shorter than this would come from Python's own arenas.
MIN_MESSAGE_BYTES = 560


class Gateway(Program):
    def __init__(self, args) -> None:
        super().__init__(args)
        sys.path.insert(0, args.codec)
        import codec

        self.codec = codec
        self.message_bytes = args.leak_bytes_per_second / args.turns_per_second
        self.kept = Books(Gateway.persist)

    def books(self) -> list[Books]:
        return [self.kept]

    async def turn(self, number: int) -> object:
        low = max(MIN_MESSAGE_BYTES, int(self.message_bytes / 2))
        high = max(low, int(self.message_bytes * 2) - low)
        return {"checksum": self.persist(b"m" * self.rng.randint(low, high))}

    def persist(self, message: bytes) -> int:
        before_bytes, before_blocks = self.codec.retained()
        checksum = self.codec.checksum(message, self.args.leak)  # retains
        after_bytes, after_blocks = self.codec.retained()
        if after_blocks > before_blocks:
            self.kept.keep(after_bytes - before_bytes, after_blocks - before_blocks)
        return checksum


if __name__ == "__main__":
    main(Gateway, __doc__, codec=".")
