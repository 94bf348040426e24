"""Holds bytes of known sizes at the ends of known call chains, and prints both as its truth.

Speaks the line protocol of the C targets: waits for a line, works, prints one JSON line, waits
for another or the end of stdin. Each allocation asks Python itself for the stack, on the very
line that allocates.
"""

import json
import os
import sys

TIMES = 200
KEPT = []
TRUTH = {}


def stack():
    """The caller's frames, innermost first: (qualified name, file, executing line)."""
    frame = sys._getframe(1)
    frames = []
    while frame is not None:
        frames.append((frame.f_code.co_qualname, frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return tuple(frames)


def keep(frames, block):
    KEPT.append(block)
    held = TRUTH.setdefault(frames, [0, 0])
    held[0] += sys.getsizeof(block)
    held[1] += 1


def in_function(size):
    frames, block = stack(), bytes(size)
    keep(frames, block)


class Holder:
    def in_method(self, size):
        frames, block = stack(), bytes(size)
        keep(frames, block)

    def through_method(self, size):
        self.in_method(
            size + 1,
        )


in_lambda = lambda size: keep(*(stack(), bytes(size)))  # noqa: E731


def outer(size):
    def nested():
        frames, block = stack(), bytes(size)
        keep(frames, block)

    in_function(size + 2)
    nested()


def recurse(depth, size):
    if depth == 0:
        return in_function(size)
    return recurse(depth - 1, size)


def work():
    for _ in range(TIMES):
        in_function(1000)
        Holder().through_method(2000)
        in_lambda(3000)
        outer(4000)
        recurse(20, 5000)


def wait_for_line():
    while (byte := os.read(0, 1)) not in (b"\n", b""):
        pass


if __name__ == "__main__":
    wait_for_line()
    work()
    sites = [
        {"frames": frames, "live_bytes": held[0], "live_blocks": held[1]}
        for frames, held in TRUTH.items()
    ]
    print(json.dumps({"program": "chain", "pid": os.getpid(), "sites": sites}), flush=True)
    wait_for_line()
