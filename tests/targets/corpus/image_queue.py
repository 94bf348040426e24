"""A service that takes images in and queues them as base64; with `--leak` the queue is not drained.

FastAPI under uvicorn, images made and encoded by Pillow.
"""

from __future__ import annotations

import asyncio
import base64
import io
import socket
import sys
from collections import deque

import uvicorn
from fastapi import FastAPI
from PIL import Image

from serving import HOST, Books, Program, options, until_the_end

# Base64 of an image, a third longer than the image; one to four to a batch.
MAX_IMAGE_BYTES = 24_000
# An encoded image shorter than this would come from Python's own arenas.
MIN_IMAGE_BYTES = 700
QUEUED = 6


class Service(Program):
    companions = ["Service.turn"]

    def __init__(self, args) -> None:
        super().__init__(args)
        batch_bytes = args.leak_bytes_per_second / args.turns_per_second
        self.images = 4 if batch_bytes > 4 * 2 * MIN_IMAGE_BYTES else 1
        image_bytes = min(MAX_IMAGE_BYTES, max(MIN_IMAGE_BYTES, batch_bytes / self.images * 3 / 4))
        # Noise does not compress: a PNG of it is as long as its pixels, and its headers.
        self.side = max(12, int(((image_bytes - 120) / 3) ** 0.5))
        self.queue: deque[list[bytes]] = deque()
        self.kept = Books(Service.encode)

    def books(self) -> list[Books]:
        return [self.kept]

    def innocent(self) -> dict:
        return {"queued": len(self.queue)}

    async def turn(self, number: int) -> object:
        batch = [self.encode(self.take_image()) for _ in range(self.images)]
        self.queue.append(batch)
        if self.args.leak:
            self.kept.keep(sum(map(sys.getsizeof, batch)), blocks=len(batch))
        elif len(self.queue) > QUEUED:
            self.queue.popleft()
        return {"queued": len(self.queue), "images": len(batch)}

    def take_image(self) -> bytes:
        """An image as a camera would send it: a PNG of noise."""
        pixels = self.rng.randbytes(3 * self.side * self.side)
        image = Image.frombytes("RGB", (self.side, self.side), pixels)
        file = io.BytesIO()
        image.save(file, "PNG", compress_level=1)
        return file.getvalue()

    def encode(self, image: bytes) -> bytes:
        return base64.b64encode(image)  # retains


async def serve(service: Service) -> None:
    app = FastAPI()

    @app.post("/turn")
    async def post_turn() -> dict:
        return await service.take_turn()

    @app.get("/truth")
    async def get_truth() -> dict:
        return service.truth()

    listener = socket.create_server((HOST, service.args.port))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    await until_the_end(service.args, listener.getsockname()[1])
    server.should_exit = True
    await serving


if __name__ == "__main__":
    asyncio.run(serve(Service(options(__doc__, turns_per_s=12.0).parse_args())))
