"""A bytes object made and dropped at the end of a Python stack, timed on request.

Prints "ready PID" once. For each line "round N" on stdin prints the nanoseconds that making and
dropping an object of 600 bytes took (one calloc, one free) with N functions of this file on the
stack: the median over several batches. "mixed N" is the same with some thirty native frames on
the stack besides, since every fourth function is called by C code, as the key of a `max`.
"rotate N" is "mixed N" with 1,024 stacks in turn, which differ in the lines of their last five
functions. N is 3 at least, and 9 for "rotate". Ends when stdin does.
"""

import os
import sys
from statistics import median
from time import perf_counter_ns

BATCHES = 9
PAIRS_PER_BATCH = 3_072
# Each turn takes one of four calls: 4 ** 5 = 1,024 paths.
TURNS = 5
STACKS = 4**TURNS


def pairs():
    begin = perf_counter_ns()
    for _ in range(PAIRS_PER_BATCH):
        bytes(600)
    return (perf_counter_ns() - begin) / PAIRS_PER_BATCH


def turn(path, left):
    way = path & 3
    if not left:
        bytes(600)
    elif way == 0:
        turn(path >> 2, left - 1)
    elif way == 1:
        turn(path >> 2, left - 1)
    elif way == 2:
        turn(path >> 2, left - 1)
    else:
        turn(path >> 2, left - 1)


def rotation():
    begin = perf_counter_ns()
    for i in range(PAIRS_PER_BATCH):
        turn(i % STACKS, TURNS)
    return (perf_counter_ns() - begin) / PAIRS_PER_BATCH


def descend(levels, measure):
    if levels > 1:
        return descend(levels - 1, measure)
    return measure()


def mixed(levels, measure):
    if levels <= 1:
        return measure()
    if levels % 4:
        return mixed(levels - 1, measure)
    told = []
    # C calls Python here.
    max((levels,), key=lambda level: told.append(mixed(level - 2, measure)) or 0)
    return told[0]


def main():
    print(f"ready {os.getpid()}", flush=True)
    for line in sys.stdin:
        kind, frames = line.split()
        # The module, this function and what measures are there already, and so are the turns.
        levels = int(frames) - 3
        measure = pairs
        if kind == "rotate":
            levels -= TURNS + 1
            measure = rotation
        way = descend if kind == "round" else mixed
        times = []
        for _ in range(BATCHES):
            times.append(way(levels, measure) if levels > 0 else measure())
        print(f"{median(times):.1f}", flush=True)


main()
