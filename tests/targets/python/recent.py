"""Stacks that differ in one line of one frame far down.

`outer` calls `descend` from one of three lines; from there on all is alike, down to the line that
makes a block. With each line on stdin the blocks are made in turns and at random, and each is
dropped by and by. Prints "{}" when it is ready, and for each line the blocks made so far under each
line of `outer`, as one JSON line.
"""

import json
import random
import sys

DEPTH = 15
ROUNDS = 4000
BYTES = 1000
HELD = [None] * 64
MADE = {}
made = 0


def leaf(line):
    global made
    HELD[made % len(HELD)] = bytes(BYTES)
    made += 1
    MADE[line] += 1


def descend(levels, line):
    if levels > 1:
        descend(levels - 1, line)
    else:
        leaf(line)


def outer(which):
    first = outer.__code__.co_firstlineno
    if which == 0:
        descend(DEPTH, first + 3)
    elif which == 1:
        descend(DEPTH, first + 5)
    else:
        descend(DEPTH, first + 7)


def main():
    for offset in (3, 5, 7):
        MADE[outer.__code__.co_firstlineno + offset] = 0
    print("{}", flush=True)
    for _ in sys.stdin:
        for turn in range(ROUNDS):
            outer(turn % 3)
        for turn in range(ROUNDS):
            outer(turn % 2)
        for _ in range(ROUNDS):
            outer(random.randrange(3))
        print(json.dumps({"lines": MADE, "bytes": BYTES}), flush=True)


main()
