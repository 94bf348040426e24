"""drive.py PORT N: makes a batch of N requests to a server of the corpus, one after the other.

For `outlive check --cycle`: start the server with --no-load (those of tests/targets/node have no
load of their own). `drive.py PORT 0` only asks whether the server answers, for `--ready`. Exits
non-zero when a request fails.
"""

from __future__ import annotations

import http.client
import json
import sys

PROMPT = "what does the gateway hold? " * 32


def main() -> None:
    port, count = map(int, sys.argv[1:])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    # Where the last batch stopped: the servers on Node make sessions of it.
    first = ask(connection, "GET", "/truth").get("turns", 0)
    for turn in range(first, first + count):
        ask(connection, "POST", "/turn", json.dumps({"turn": turn, "prompt": PROMPT}))


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: str = "") -> dict:
    headers = {"Content-Type": "application/json"} if body else {}
    connection.request(method, path, body or None, headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        sys.exit(f"{method} {path} is answered with {answer.status}")
    return json.loads(text) if path == "/truth" else {}


if __name__ == "__main__":
    main()
