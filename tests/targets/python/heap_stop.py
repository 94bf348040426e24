"""Knows how long it did not run: `heap_stop.py MEGABYTES [THREADS]`.

Holds so many megabytes of objects, says so with one JSON line, and looks at the clock without
pause. Each line on stdin is answered with how often it looked, and with the longest time between
two looks since the last such line. With THREADS as many threads come and go all the time. The end
of stdin ends it.
"""

import json
import sys
import threading
import time


class Entry:
    def __init__(self, number):
        self.number = number
        self.text = "entry %d, of which there are many" % number


class Looks:
    count = 0
    longest_ns = 0


def resident_bytes():
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * 4096


def look():
    clock = time.monotonic_ns
    last = clock()
    while True:
        now = clock()
        if now - last > Looks.longest_ns:
            Looks.longest_ns = now - last
        last = now
        Looks.count += 1


def come_and_go():
    while True:
        short = threading.Thread(target=time.sleep, args=(0.001,))
        short.start()
        short.join()


def main():
    megabytes = int(sys.argv[1])
    entries = []
    while resident_bytes() < megabytes << 20:
        entries.extend(Entry(number) for number in range(len(entries), len(entries) + 1000))
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    for function in [look] + [come_and_go] * threads:
        threading.Thread(target=function, daemon=True).start()
    print(json.dumps({"entries": len(entries), "resident_bytes": resident_bytes()}), flush=True)
    for _ in sys.stdin:
        answer = {"count": Looks.count, "longest_ns": Looks.longest_ns}
        Looks.longest_ns = 0
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
