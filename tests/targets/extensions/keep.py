"""Keeps what real extension modules make, in a loop, by one known line each.

Speaks the line protocol: `keep.py CASE` imports, warms up, waits for a line, works, prints one JSON
line, waits for the end of stdin. What was kept in bytes is told by glibc itself (mallinfo2), and
resident memory by the kernel; the line is told by Python.
"""

import ctypes
import gc
import json
import os
import sys


class Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
        )
    ]


libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Mallinfo2


def allocated_bytes():
    """Bytes that glibc's malloc has handed out, its own rounding included."""
    info = libc.mallinfo2()
    return info.uordblks + info.hblkhd


def resident_bytes():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


KEPT = []
LINES = set()


def here():
    """The caller's function, file and line."""
    frame = sys._getframe(1)
    LINES.add((frame.f_code.co_qualname, frame.f_code.co_filename, frame.f_lineno))


def numpy_arrays(times):
    import numpy

    for _ in range(times):
        here(), KEPT.append(numpy.ones((128, 250)))


def pillow_images(times):
    from PIL import Image

    for _ in range(times):
        here(), KEPT.append(Image.new("RGB", (160, 100), "red"))


def lxml_trees(times):
    from lxml import etree

    text = b"<all>" + b"".join(b'<entry id="%d">value</entry>' % i for i in range(300)) + b"</all>"
    for _ in range(times):
        here(), KEPT.append(etree.fromstring(text))


def orjson_documents(times):
    import orjson

    text = orjson.dumps(["x" * (1000 + i) for i in range(50)])
    for _ in range(times):
        here(), KEPT.append(orjson.loads(text))


def cryptography_keys(times):
    from cryptography.hazmat.primitives.asymmetric import ec

    for _ in range(times):
        here(), KEPT.append(ec.generate_private_key(ec.SECP256R1()))


def ssl_contexts(times):
    import ssl

    for _ in range(times):
        here(), KEPT.append(ssl.create_default_context())


CASES = {
    "numpy": (numpy_arrays, 60),
    "pillow": (pillow_images, 60),
    "lxml": (lxml_trees, 60),
    "orjson": (orjson_documents, 60),
    "cryptography": (cryptography_keys, 300),
    "ssl": (ssl_contexts, 8),
}


def wait_for_line():
    while (byte := os.read(0, 1)) not in (b"\n", b""):
        pass


def main():
    work, times = CASES[sys.argv[1]]
    # Imports, first-use caches and lazily made tables are not what is measured.
    work(3)
    KEPT.clear()
    LINES.clear()
    # What the warm-up gave back would be used again, and resident memory grow by less.
    gc.collect()
    libc.malloc_trim(0)
    print("ready", os.getpid(), flush=True)
    wait_for_line()
    allocated, resident = allocated_bytes(), resident_bytes()
    work(times)
    allocated, resident = allocated_bytes() - allocated, resident_bytes() - resident
    [line] = LINES
    truth = {
        "function": line[0],
        "file": line[1],
        "line": line[2],
        "allocated_bytes": allocated,
        "resident_bytes": resident,
        "kept": len(KEPT),
    }
    print(json.dumps(truth), flush=True)
    wait_for_line()


main()
