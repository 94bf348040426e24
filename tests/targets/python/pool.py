"""Processes of multiprocessing that hold known amounts.

    pool.py fork|spawn

Prints the process IDs of its children, waits for a line, lets each child hold blocks of a size of
its own, prints what each holds, waits for another line or the end of stdin.
"""

import json
import multiprocessing
import os
import sys

CHILDREN = 3
BLOCKS = 500
KEPT = []


def hold(size):
    return bytes(size)


def work(number, ready, go, truth, done):
    ready.put(os.getpid())
    go.wait()
    for _ in range(BLOCKS):
        KEPT.append(hold(2000 + 1000 * number))
    held = {"pid": os.getpid(), "bytes": sum(map(sys.getsizeof, KEPT)), "blocks": len(KEPT)}
    truth.put(held)
    done.wait()


def main():
    context = multiprocessing.get_context(sys.argv[1])
    ready, truth = context.Queue(), context.Queue()
    go, done = context.Event(), context.Event()
    children = [
        context.Process(target=work, args=(number, ready, go, truth, done))
        for number in range(CHILDREN)
    ]
    for child in children:
        child.start()
    print(json.dumps({"children": sorted(ready.get() for _ in children)}), flush=True)
    sys.stdin.readline()
    go.set()
    line = hold.__code__.co_firstlineno + 1
    held = [truth.get() for _ in children]
    print(json.dumps({"function": "hold", "line": line, "held": held}), flush=True)
    sys.stdin.readline()
    done.set()
    for child in children:
        child.join()


if __name__ == "__main__":
    main()
