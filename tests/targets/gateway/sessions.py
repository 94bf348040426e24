"""Sessions, their messages, and the flush path that writes a finished turn back.

With `keep_finished_streams` the flush path keeps the joined stream buffers of every response
it has ever finished. That is the leak of the demo, and the only one.
"""

from __future__ import annotations

import inspect
import sys
from collections import deque
from dataclasses import dataclass, field

# Messages that a session remembers; older ones fall out.
HISTORY_MESSAGES = 8


@dataclass(slots=True)
class Message:
    role: str
    text: str


@dataclass(slots=True)
class StreamedReply:
    """A reply while it streams in: the text deltas as they came over the wire."""

    chunks: list[bytes] = field(default_factory=list)

    def add(self, delta: bytes) -> None:
        self.chunks.append(delta)


@dataclass(slots=True)
class Session:
    name: str
    messages: deque[Message] = field(default_factory=lambda: deque(maxlen=HISTORY_MESSAGES))
    turns: int = 0
    finished_streams: list[bytes] = field(default_factory=list)


class SessionStore:
    def __init__(self, max_sessions: int, keep_finished_streams: bool) -> None:
        self.max_sessions = max_sessions
        self.keep_finished_streams = keep_finished_streams
        self._sessions: dict[str, Session] = {}

    def open(self, name: str) -> Session | None:
        """The session of that name, made if there is room for it."""
        session = self._sessions.get(name)
        if session is None and len(self._sessions) < self.max_sessions:
            session = self._sessions[name] = Session(name)
        return session

    def __len__(self) -> int:
        return len(self._sessions)

    # -- the flush path ---------------------------------------------------------------

    def finish_turn(self, session: Session, prompt: str, reply: StreamedReply) -> None:
        session.messages.append(Message("user", prompt))
        self._flush_messages(session, reply)

    def _flush_messages(self, session: Session, reply: StreamedReply) -> None:
        body = self._drop_trailing_empty_response_scaffolding(reply)
        self._persist_turn(session, body)

    def _drop_trailing_empty_response_scaffolding(self, reply: StreamedReply) -> bytes:
        """The reply without the blank deltas that a model sends before it stops."""
        while reply.chunks and not reply.chunks[-1].strip():
            reply.chunks.pop()
        return b"".join(reply.chunks)  # allocates what the leak keeps

    def _persist_turn(self, session: Session, body: bytes) -> None:
        session.messages.append(Message("assistant", body.decode()))
        session.turns += 1
        if self.keep_finished_streams:
            session.finished_streams.append(body)

    # -- what is really held ----------------------------------------------------------

    def retained(self) -> list[dict]:
        """Ground truth: bytes and blocks that the leak retains, by allocating function.

        A `bytes` object is one block of its own size, header included, so these are the
        numbers that the allocator was asked for.
        """
        held = [body for session in self._sessions.values() for body in session.finished_streams]
        function = SessionStore._drop_trailing_empty_response_scaffolding
        return [
            {
                "function": function.__qualname__,
                "file": function.__code__.co_filename,
                "line": _line_of(function, "# allocates what the leak keeps"),
                "bytes": sum(map(sys.getsizeof, held)),
                "blocks": len(held),
            }
        ]

    def history_bytes(self) -> int:
        return sum(
            sys.getsizeof(message.text)
            for session in self._sessions.values()
            for message in session.messages
        )


def _line_of(function, marker: str) -> int:
    lines, first = inspect.getsourcelines(function)
    return first + next(i for i, line in enumerate(lines) if marker in line)
