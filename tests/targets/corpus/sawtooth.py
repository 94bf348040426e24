"""Innocent: images are collected until a batch of them is complete, and all go at once."""

from __future__ import annotations

import io

from PIL import Image

from serving import Program, main

SIDE = 96


class Service(Program):
    def __init__(self, args) -> None:
        super().__init__(args)
        self.batch: list[bytes] = []
        self.batch_images = int(args.period_seconds * args.turns_per_second)
        self.batches = 0

    def innocent(self) -> dict:
        return {"images": len(self.batch), "of": self.batch_images, "batches": self.batches}

    async def turn(self, number: int) -> object:
        self.batch.append(self.encode())
        if len(self.batch) >= self.batch_images:
            self.batches += 1
            self.batch = []
        return {"images": len(self.batch)}

    def encode(self) -> bytes:
        pixels = self.rng.randbytes(3 * SIDE * SIDE)
        file = io.BytesIO()
        Image.frombytes("RGB", (SIDE, SIDE), pixels).save(file, "PNG", compress_level=1)
        return file.getvalue()


if __name__ == "__main__":
    main(Service, __doc__, period_seconds=9.0)
