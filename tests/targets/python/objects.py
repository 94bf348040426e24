"""Keeps small and large objects by known amounts, each made in a function of its own.

Waits for a line on stdin, works, prints its truth as one JSON line, waits for the end of stdin.
"""

import json
import sys

SMALL, LARGE, COUNT = 100, 5000, 3000


def keep_small():
    return bytes(SMALL)


def keep_large():
    return bytes(LARGE)


def drop_small():
    bytes(SMALL)


def main():
    kept = [None] * (2 * COUNT)
    sys.stdin.readline()
    for index in range(COUNT):
        kept[2 * index] = keep_small()
        kept[2 * index + 1] = keep_large()
        drop_small()
    sites = [
        {"function": function.__name__, "blocks": COUNT, "bytes": COUNT * sys.getsizeof(function())}
        for function in (keep_small, keep_large)
    ]
    print(json.dumps({"program": "objects", "sites": sites}), flush=True)
    sys.stdin.readline()


main()
