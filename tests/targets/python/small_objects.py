"""Keeps known numbers of objects too small to reach libc by themselves; for CPython 3.8 to 3.15.

Speaks the line protocol of the C targets, as cases.py does. The truth has the Python frames of
each line that allocates, and what its objects take: `sys.getsizeof`, which is what CPython asks
its object allocator for. It includes what stands before an object, such as the 16 bytes of the
collector's header before each `Record` (none in a build without the GIL).

Nothing here comes from a free list: CPython has none for instances with slots nor for bytes, and
the one for floats is emptied first. The lists that keep the objects exist before the start.
"""

import gc
import json
import os
import sys

COUNT = 200_000
RECORDS = [None] * COUNT
FLOATS = [None] * COUNT
BYTES = [None] * COUNT
# More than any version's free list of floats holds.
OTHER_FLOATS = [None] * 1000


class Record:
    __slots__ = ("name", "value")


def stack():
    """The caller's frames, innermost first: (qualified name, file, executing line)."""
    frame = sys._getframe(1)
    frames = []
    while frame is not None:
        code = frame.f_code
        name = getattr(code, "co_qualname", code.co_name)
        frames.append((name, code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return tuple(frames)


def empty_free_list():
    for index in range(len(OTHER_FLOATS)):
        OTHER_FLOATS[index] = float(index)


def keep_instances():
    frames = None
    for index in range(COUNT):
        RECORDS[index], frames = Record(), frames or stack()
    return site(frames, RECORDS)


def keep_floats():
    frames = None
    for index in range(COUNT):
        FLOATS[index], frames = float(index), frames or stack()
    return site(frames, FLOATS)


def keep_bytes():
    frames = None
    for index in range(COUNT):
        BYTES[index], frames = bytes(100), frames or stack()
    return site(frames, BYTES)


def site(frames, objects):
    held_bytes = sum(map(sys.getsizeof, objects))
    return {"frames": frames, "live_bytes": held_bytes, "live_blocks": len(objects)}


def say(**facts):
    print(json.dumps(facts), flush=True)


def wait_for_line():
    while (byte := os.read(0, 1)) not in (b"\n", b""):
        pass


if __name__ == "__main__":
    gc.disable()
    say(ready=True)
    wait_for_line()
    empty_free_list()
    sites = [keep_instances(), keep_floats(), keep_bytes()]
    say(program="small_objects", pid=os.getpid(), sites=sites)
    wait_for_line()
