"""A gunicorn server (configuration and application in one) whose workers leak known amounts.

Each worker keeps blocks of a size of its own on each request, and says in its answer what it holds
by now: its process ID, the line that allocates, exact bytes and blocks. Prints one JSON line when it
listens.

    python -m gunicorn -c tests/targets/workers/workers.py workers:app
"""

import json
import os
import sys
import time

chdir = os.path.dirname(os.path.abspath(__file__))
bind = "127.0.0.1:0"
workers = 4
loglevel = "warning"
preload_app = True
# A heartbeat file on disk would be the machine's business, not ours.
worker_tmp_dir = "/dev/shm"

BLOCKS_PER_REQUEST = 8
KEPT = []
TRUTH = {"bytes": 0, "blocks": 0}
AGE = 0


def when_ready(server):
    port = server.LISTENERS[0].sock.getsockname()[1]
    print(json.dumps({"port": port, "pid": os.getpid()}), flush=True)


def post_fork(server, worker):
    # gunicorn loads its configuration under another name than the application.
    import workers

    workers.AGE = worker.age


def hold(size):
    return bytes(size)


def app(environ, start_response):
    for _ in range(BLOCKS_PER_REQUEST if environ["PATH_INFO"] == "/leak" else 0):
        block = hold(4000 + 1000 * AGE)
        KEPT.append(block)
        TRUTH["bytes"] += sys.getsizeof(block)
        TRUTH["blocks"] += 1
    # Meanwhile the other workers get their share of the requests.
    time.sleep(0.02)
    line = hold.__code__.co_firstlineno + 1
    answer = {"pid": os.getpid(), "function": "hold", "file": __file__, "line": line, **TRUTH}
    body = json.dumps(answer).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
