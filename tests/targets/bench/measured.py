"""Runs a command, and says as one JSON line what it took: `measured.py COMMAND...`.

`user_s` and `system_s` are what the kernel charged it and its children for, `peak_bytes` the most memory that one
of them had resident; `said` is its stdout, `complained` its stderr.
"""

import json
import resource
import subprocess
import sys
import time

began = time.monotonic()
done = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, capture_output=True, text=True)
took_s = time.monotonic() - began
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
told = {
    "code": done.returncode,
    "took_s": took_s,
    "user_s": usage.ru_utime,
    "system_s": usage.ru_stime,
    "peak_bytes": usage.ru_maxrss * 1024,
    "said": done.stdout,
    "complained": done.stderr,
}
print(json.dumps(told), flush=True)
