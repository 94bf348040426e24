"""With each line on stdin a round, in which a function keeps 40 blocks of 4000 bytes for ever.

Prints its truth as one JSON line after each round, and ends with stdin.
"""

import json
import sys

KEPT = []


def keep(count):
    for _ in range(count):
        KEPT.append(bytes(4000))  # this line keeps it


def main():
    for _ in sys.stdin:
        keep(40)
        held = sum(map(sys.getsizeof, KEPT))
        print(json.dumps({"function": "keep", "blocks": len(KEPT), "bytes": held}), flush=True)


main()
