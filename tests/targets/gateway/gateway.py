"""A chat gateway: keeps sessions, asks a model, streams its replies on to the client.

    POST /sessions/{name}/messages   {"prompt": ...}; answers with server-sent events
    GET  /sessions/{name}            the session's messages as compressed JSON
    GET  /healthz                    {"ok": true}
    GET  /truth                      what this process really holds
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import zlib

import aiohttp
from aiohttp import web

from cache import PromptCache
from sessions import Session, SessionStore, StreamedReply
from startup import serve

# 64 prompts of 8 to 24 KiB: 1 MiB when full.
CACHED_PROMPTS = 64
MODEL_TIMEOUT = aiohttp.ClientTimeout(total=30)


class Gateway:
    def __init__(self, model_url: str, store: SessionStore, seed: int) -> None:
        self.model_url = model_url
        self.store = store
        self.cache = PromptCache(CACHED_PROMPTS)
        self.rng = random.Random(seed)
        self.model: aiohttp.ClientSession | None = None
        self.turns = 0

    async def connect_model(self, _app: web.Application):
        """One client session for the life of the process; its connections are reused."""
        connector = aiohttp.TCPConnector(limit=32)
        async with aiohttp.ClientSession(connector=connector, timeout=MODEL_TIMEOUT) as self.model:
            yield

    # -- handlers ---------------------------------------------------------------------

    async def post_message(self, request: web.Request) -> web.StreamResponse:
        session = self.open_session(request)
        prompt = (await request.json())["prompt"]
        context = self.build_context(session, prompt)

        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        # A client that goes away ends its turn, finished or not, and is no fault of ours.
        with contextlib.suppress(ConnectionResetError):
            await response.prepare(request)
            reply = await self.relay_reply(context, response)
            self.store.finish_turn(session, prompt, reply)
            self.turns += 1
            await response.write(b"data: [DONE]\n\n")
            await response.write_eof()
        return response

    async def get_session(self, request: web.Request) -> web.Response:
        session = self.open_session(request)
        messages = [{"role": m.role, "text": m.text} for m in session.messages]
        body = json.dumps({"session": session.name, "messages": messages}).encode()
        return web.Response(
            body=zlib.compress(body, 1),
            headers={"Content-Type": "application/json", "Content-Encoding": "deflate"},
        )

    async def get_health(self, _request: web.Request) -> web.Response:
        return web.json_response({"ok": True})

    async def get_truth(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "leak": self.store.keep_finished_streams,
                "turns": self.turns,
                "retained": self.store.retained(),
                "innocent": {
                    "sessions": len(self.store),
                    "history_bytes": self.store.history_bytes(),
                    "cache_entries": len(self.cache),
                    "cache_bytes": self.cache.size_bytes(),
                    "cache_capacity": self.cache.capacity,
                },
            }
        )

    # -- the work of a turn -----------------------------------------------------------

    def open_session(self, request: web.Request) -> Session:
        session = self.store.open(request.match_info["name"])
        if session is None:
            raise web.HTTPTooManyRequests(text="too many sessions")
        return session

    def build_context(self, session: Session, prompt: str) -> bytes:
        """What the model is sent: the rendered prompt and the latest message."""
        rendered = self.cache.get(prompt)
        if rendered is None:
            rendered = self.render_prompt(prompt)
            self.cache.put(prompt, rendered)
        latest = session.messages[-1].text if session.messages else ""
        return json.dumps({"prompt": rendered.decode(), "latest": latest}).encode()

    def render_prompt(self, prompt: str) -> bytes:
        """A long prompt from a short one, by way of a scratch buffer of changing size."""
        scratch = bytearray(self.rng.randint(16, 256) * 1024)
        scratch[: len(prompt)] = prompt.encode()
        return (prompt.encode() + b" ") * (self.rng.randint(8, 24) * 1024 // (len(prompt) + 1))

    async def relay_reply(self, context: bytes, response: web.StreamResponse) -> StreamedReply:
        """Streams the model's reply to the client, and remembers its deltas."""
        reply = StreamedReply()
        headers = {"Content-Type": "application/json"}
        url = f"{self.model_url}/v1/complete"
        async with self.model.post(url, data=context, headers=headers) as upstream:
            async for line in upstream.content:
                if not line.startswith(b"data: {"):
                    continue
                delta = json.loads(line[len(b"data: ") :])["delta"]
                reply.add(delta.encode())
                await response.write(line + b"\n")
        return reply


def main() -> None:
    parser = argparse.ArgumentParser(description="The demo gateway.")
    parser.add_argument("--model-url", required=True, help="where model_stub.py listens")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--leak", action="store_true", help="keep every finished stream")
    parser.add_argument("--max-sessions", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--exit-with-stdin", action="store_true", help="stop when stdin closes")
    args = parser.parse_args()

    store = SessionStore(args.max_sessions, keep_finished_streams=args.leak)
    gateway = Gateway(args.model_url, store, args.seed)
    app = web.Application()
    app.cleanup_ctx.append(gateway.connect_model)
    app.router.add_post("/sessions/{name}/messages", gateway.post_message)
    app.router.add_get("/sessions/{name}", gateway.get_session)
    app.router.add_get("/healthz", gateway.get_health)
    app.router.add_get("/truth", gateway.get_truth)
    asyncio.run(serve(app, args.port, args.exit_with_stdin, leak=args.leak))


if __name__ == "__main__":
    main()
