"""A least-recently-used cache of rendered prompts: innocent, and bounded.

It holds at most `capacity` entries; under the demo load it is full within about five seconds
and from then on throws one entry out for each one it takes in.
"""

from __future__ import annotations

from collections import OrderedDict


class PromptCache:
    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._entries: OrderedDict[str, bytes] = OrderedDict()

    def get(self, key: str) -> bytes | None:
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: str, rendered: bytes) -> None:
        self._entries[key] = rendered
        self._entries.move_to_end(key)
        while len(self._entries) > self.capacity:
            self._entries.popitem(last=False)

    def __len__(self) -> int:
        return len(self._entries)

    def size_bytes(self) -> int:
        return sum(len(entry) for entry in self._entries.values())
