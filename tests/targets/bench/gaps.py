"""A loop that allocates and records how long it stands still; what `gaps.c` says of itself, with one
thread at work. Reads its stdin without waiting for it."""

import json
import os
import select
from time import perf_counter_ns

# Rounds between two looks at stdin.
BETWEEN_LOOKS = 200


def waited_ns(schedstat):
    return int(os.pread(schedstat, 128, 0).split()[1])


def main():
    schedstat = os.open(f"/proc/self/task/{os.getpid()}/schedstat", os.O_RDONLY)
    print(f"ready {os.getpid()}", flush=True)
    gap = stall = rounds = 0
    while True:
        for _ in range(BETWEEN_LOOKS):
            waited, began = waited_ns(schedstat), perf_counter_ns()
            for size in (600, 900, 1200):
                bytes(size)
            took = perf_counter_ns() - began
            gap = max(gap, took)
            stall = max(stall, took - (waited_ns(schedstat) - waited))
            rounds += 1
        if select.select([0], [], [], 0)[0]:
            if not os.read(0, 4096):
                return
            told = {"gap_ms": gap / 1e6, "stall_ms": stall / 1e6, "rounds": rounds}
            print(json.dumps(told), flush=True)
            gap = stall = rounds = 0


main()
