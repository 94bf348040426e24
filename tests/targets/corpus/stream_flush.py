"""A gateway that streams replies and flushes them: with `--leak` finished streams stay.

The sessions and the flush path are those of the demo gateway; the model is within.
"""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "gateway"))

from serving import Books, Program, main  # noqa: E402
from sessions import SessionStore, StreamedReply  # noqa: E402

SESSIONS = 16
# A body shorter than this would come from Python's own arenas.
MIN_BODY_BYTES = 560
DELTAS = 8


class Gateway(Program):
    companions = ["SessionStore._persist_turn"]

    def __init__(self, args) -> None:
        super().__init__(args)
        self.store = SessionStore(SESSIONS, keep_finished_streams=args.leak)
        self.body_bytes = args.leak_bytes_per_second / args.turns_per_second
        function = SessionStore._drop_trailing_empty_response_scaffolding
        self.kept = Books(function, "# allocates what the leak keeps")

    def books(self) -> list[Books]:
        return [self.kept]

    def innocent(self) -> dict:
        return {"history_bytes": self.store.history_bytes()}

    async def turn(self, number: int) -> object:
        session = self.store.open(f"s{number % SESSIONS}")
        reply = StreamedReply()
        for delta in self.model_says():
            reply.add(delta)
        for _ in range(2):
            reply.add(b"\n")
        self.store.finish_turn(session, f"prompt {number}", reply)
        if session.finished_streams:
            self.kept.keep(sys.getsizeof(session.finished_streams[-1]))
        return {"deltas": len(reply.chunks)}

    def model_says(self):
        """Deltas of a reply of about `body_bytes`, half as much to half as much again."""
        low = max(MIN_BODY_BYTES, int(self.body_bytes / 2))
        high = max(low, int(self.body_bytes * 2) - low)
        size_bytes = self.rng.randint(low, high)
        for index in range(DELTAS):
            yield b"x" * (size_bytes // DELTAS + (index < size_bytes % DELTAS))


if __name__ == "__main__":
    main(Gateway, __doc__)
