"""Innocent: a least-recently-used cache of answers that takes minutes to fill.

What is asked for follows popularity, as it does in life: the n-th question is asked in proportion
to 1/n^0.9. So hits rise while the cache fills, and it grows ever more slowly. With `--prefill 1` it
is full when the server says that it is ready: then it turns over, and what goes is at first only
what was there before anybody looked. Until it is full it can be told from a leak only by growing more
slowly, so who watches for less than a minute gives it a smaller --capacity.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict

from serving import Program, main

QUESTIONS = 8000
ANSWER_BYTES = (4_000, 20_000)
LOOKUPS_PER_TURN = 3


class Service(Program):
    def __init__(self, args) -> None:
        super().__init__(args)
        self.capacity = args.capacity
        self.cache: OrderedDict[int, bytes] = OrderedDict()
        weights = [1 / rank**0.9 for rank in range(1, QUESTIONS + 1)]
        self.weights = list(itertools.accumulate(weights))
        self.hits = self.misses = 0
        while args.prefill and len(self.cache) < self.capacity:
            self.look_up()
        self.hits = self.misses = 0

    def innocent(self) -> dict:
        held = sum(map(len, self.cache.values()))
        return {
            "entries": len(self.cache), "capacity": self.capacity, "bytes": held,
            "hits": self.hits, "misses": self.misses,
        }

    async def turn(self, number: int) -> object:
        return {"bytes": sum(len(self.look_up()) for _ in range(LOOKUPS_PER_TURN))}

    def look_up(self) -> bytes:
        [question] = self.rng.choices(range(QUESTIONS), cum_weights=self.weights)
        answer = self.cache.get(question)
        if answer is None:
            self.misses += 1
            answer = self.cache[question] = self.answer(question)
            if len(self.cache) > self.capacity:
                self.cache.popitem(last=False)
        else:
            self.hits += 1
            self.cache.move_to_end(question)
        return answer

    def answer(self, question: int) -> bytes:
        low, high = ANSWER_BYTES
        return b"a" * (low + question * 7919 % (high - low))


if __name__ == "__main__":
    main(Service, __doc__, prefill=0, capacity=2500)
