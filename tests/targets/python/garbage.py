"""Overwrites its own interpreter state, allocates, and repairs it: what a tracer sees meanwhile is
garbage. For CPython 3.8 to 3.14 with the GIL.

Speaks the line protocol of the C targets: prints that it is ready, waits for a line, works, prints
one JSON line, waits for another or the end of stdin. Blocks come from libc's malloc, called without
the GIL, so that the interpreter itself never runs on what is overwritten.
"""

import ctypes
import gc
import json
import os
import sys
import threading

TIMES = 50
KEPT = []
MINOR = sys.version_info[1]

# Offsets in bytes: the thread state's frame and owner; the frame's caller and code.
STATE_FRAME, STATE_THREAD, BACK, CODE = {
    8: (24, 176, 24, 32),
    9: (24, 176, 24, 32),
    10: (24, 176, 24, 32),
    11: (56, 152, 48, 32),
    12: (56, 136, 8, 0),
    13: (72, 152, 8, 0),
    14: (72, 152, 8, 0),
}[MINOR]
# Where the frame hangs in the C frame that the thread state points to.
C_FRAME = {11: 8, 12: 0}.get(MINOR)

malloc = ctypes.CDLL(None).malloc
malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
get_state = ctypes.pythonapi.PyThreadState_Get
get_state.restype = ctypes.c_void_p
word_at = ctypes.c_uint64.from_address


def frame_of_caller(state):
    frame = word_at(state + STATE_FRAME).value
    if C_FRAME is not None:
        frame = word_at(frame + C_FRAME).value
    return word_at(frame + BACK).value


# Readable, and neither a frame nor code.
NOTHING = ctypes.create_string_buffer(b"nothing " * 64, 512)
# 300 frames of real code, each the caller of the one before.
FAKE_BYTES = 128
FAKES = ctypes.create_string_buffer(FAKE_BYTES * 301)
# A code object with the right type, whose every other word is wild.
WILD_CODE = (ctypes.c_uint64 * 64)(*([0x4141414141414141] * 64))
WILD_CODE[1] = id(type(frame_of_caller.__code__))


def make_fakes():
    start = ctypes.addressof(FAKES)
    for index in range(300):
        frame = start + FAKE_BYTES * index
        word_at(frame + CODE).value = id(frame_of_caller.__code__)
        word_at(frame + BACK).value = frame + FAKE_BYTES


def overwrite(name, size, pick, value):
    """Blocks of `size` bytes, while the word that `pick` chooses holds what `value` says."""
    state = get_state()
    # This frame runs on it, its caller does not: only the caller's may be overwritten.
    frame = frame_of_caller(state)
    caller = word_at(frame + BACK).value
    word = word_at(pick(state, caller))
    before, garbage = word.value, value(frame)
    for _ in range(TIMES):
        word.value = garbage
        block = malloc(size)
        word.value = before
        KEPT.append(block)
    return {"name": name, "live_bytes": size * TIMES, "live_blocks": TIMES}


def back(_state, caller):
    return caller + BACK


def code(_state, caller):
    return caller + CODE


def thread(state, _caller):
    return state + STATE_THREAD


CASES = [
    ("a circle", 10_001, back, lambda frame: frame),
    ("a caller that is nowhere", 10_003, back, lambda _: 0x0DEA_DBEE_F000),
    ("a caller beyond all addresses", 10_005, back, lambda _: 0xFFFF_FFFF_FFFF_FFF0),
    ("callers without end", 10_007, back, lambda _: ctypes.addressof(FAKES)),
    ("a caller that is no frame", 10_009, back, lambda _: ctypes.addressof(NOTHING)),
    ("code that is nowhere", 10_011, code, lambda _: 0x4141_4141_4141_4148),
    ("code that is no code", 10_013, code, lambda _: ctypes.addressof(NOTHING)),
    ("code that is wild inside", 10_015, code, lambda _: ctypes.addressof(WILD_CODE)),
    ("a thread state of another", 10_017, thread, lambda _: 1),
]


def work(truth):
    for name, size, pick, value in CASES:
        truth.append(overwrite(name, size, pick, value))


def wait_for_line():
    while (byte := os.read(0, 1)) not in (b"\n", b""):
        pass


if __name__ == "__main__":
    gc.disable()
    make_fakes()
    print(json.dumps({"ready": True}), flush=True)
    wait_for_line()
    truth = []
    worker = threading.Thread(target=work, args=(truth,))
    worker.start()
    worker.join()
    print(json.dumps({"program": "garbage", "pid": os.getpid(), "cases": truth}), flush=True)
    wait_for_line()
