"""Every way in which Python code comes to allocate, each with its truth; for CPython 3.8 to 3.15.

Speaks the line protocol of the C targets: prints that it is ready, waits for a line, works,
prints one JSON line, waits for another or the end of stdin. Each allocation asks Python itself
for the stack, on the very line that allocates.

A case says what Python cannot: after which function (named without what it is nested in) C code
must stand in the merged stack, and a part of that code's name or module, `c_below`; and after
which, from 3.11 on, nothing may stand, since Python calls Python there without C, `direct`.
`domain` is that of its blocks, and `leaf` a part of the name or module of code between the
innermost function and the allocator.
"""

import asyncio
import ctypes
import functools
import importlib
import inspect
import json
import os
import re
import sys
import sysconfig
import threading

TIMES = 100
KEPT = []
AT_END = []

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


class Unavailable(Exception):
    """Why this interpreter cannot do a case."""


def taker():
    """What allocates in every case: `bytes`, whose block of more than 512 bytes comes from libc.

    Without the GIL no object comes from libc, so there it is libc's malloc itself, called as an
    extension would: `PyDLL` stays attached to the interpreter.
    """
    if not FREE_THREADED:
        return bytes
    malloc = ctypes.PyDLL(None).malloc
    malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    return malloc


def stack():
    """The caller's frames, innermost first: (qualified name, file, executing line)."""
    frame = sys._getframe(1)
    frames = []
    while frame is not None:
        code = frame.f_code
        name = getattr(code, "co_qualname", code.co_name)
        frames.append((name, code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return tuple(frames)


take = taker()


def keep(frames, block, size):
    """Keeps what `take(size)` returned, and remembers who called it."""
    KEPT.append(block)
    held_bytes = sys.getsizeof(block) if isinstance(block, bytes) else size
    hold(frames, held_bytes, 1)


def hold(frames, held_bytes, held_blocks):
    held = Case.running.sites.setdefault(frames, [0, 0])
    held[0] += held_bytes
    held[1] += held_blocks


class Case:
    known = []
    running = None

    def __init__(self, name, function, c_below, direct, leaf, threaded, domain):
        self.name = name
        self.function = function
        self.sites = {}
        taken_from = ["ctypes"] if FREE_THREADED else ["python"]
        self.expected = {
            "name": name,
            "c_below": {key: list(names) for key, names in c_below.items()},
            "direct": list(direct) if sys.version_info >= (3, 11) else [],
            "leaf": list(leaf or taken_from),
            "threaded": threaded,
            "domain": domain,
            "cannot": None,
            "outer_frames": [],
        }

    def run(self):
        Case.running = self
        try:
            self.function()
        except Unavailable as error:
            self.expected["cannot"] = str(error)

    def truth(self):
        sites = [
            {"frames": frames, "live_bytes": held[0], "live_blocks": held[1]}
            for frames, held in self.sites.items()
        ]
        return dict(self.expected, sites=sites)


def case(name, c_below=(), direct=(), leaf=(), threaded=False, domain="malloc"):
    def register(function):
        Case.known.append(Case(name, function, dict(c_below), direct, leaf, threaded, domain))
        return function

    return register


def in_plain(size):
    frames, block = stack(), take(size)
    keep(frames, block, size)


@case("function", direct=["in_plain"])
def function():
    for _ in range(TIMES):
        in_plain(1000)


class Holder:
    def in_method(self, size):
        frames, block = stack(), take(size)
        keep(frames, block, size)

    def through_method(self, size):
        self.in_method(
            size + 1,
        )


@case("method", direct=["in_method", "through_method"])
def method():
    holder = Holder()
    for _ in range(TIMES):
        holder.through_method(1100)


def recurse(depth, size):
    if depth == 0:
        return in_plain(size)
    return recurse(depth - 1, size)


@case("recursion", direct=["in_plain", "recurse"])
def recursion():
    for _ in range(TIMES):
        # Each call is six native frames in 3.10; 127 of them are followed everywhere.
        recurse(10, 1200)


def produce(size):
    while True:
        frames, block = stack(), take(size)
        keep(frames, block, size)
        yield block


def delegate(size):
    yield from produce(size)


@case("generator, next", c_below={"produce": ["next", "gen_"]})
def generator_next():
    source = produce(1300)
    for _ in range(TIMES):
        next(source)


@case("generator, yield from", c_below={"delegate": ["zip_next"]})
def generator_yield_from():
    for _ in zip(range(TIMES), delegate(1400)):
        pass


async def awaited(size):
    await asyncio.sleep(0)
    frames, block = stack(), take(size)
    keep(frames, block, size)


async def awaiting(size):
    await awaited(size)


async def as_task(size):
    for _ in range(TIMES):
        await awaiting(size)


async def start_task(size):
    await asyncio.ensure_future(as_task(size))


@case("asyncio task", c_below={"as_task": ["asyncio", "task_step"]})
def asyncio_task():
    asyncio.run(start_task(1500))


def sort_key(size):
    frames, block = stack(), take(size)
    keep(frames, block, size)
    return size


@case("callback of sorted", c_below={"sort_key": ["sort"]})
def callback_of_sorted():
    sorted([1600] * TIMES, key=sort_key)


def reducer(size, _):
    frames, block = stack(), take(size)
    keep(frames, block, size)
    return size


@case("callback of reduce", c_below={"reducer": ["reduce"]})
def callback_of_reduce():
    functools.reduce(reducer, range(TIMES), 1700)


def replacement(match):
    size = int(match.group())
    frames, block = stack(), take(size)
    keep(frames, block, size)
    return ""


NUMBER = re.compile("[0-9]+")


@case("callback of re.sub", c_below={"replacement": ["sre", "pattern_sub"]})
def callback_of_re_sub():
    NUMBER.sub(replacement, "1800 " * TIMES)


def compare(_left, _right):
    size = 1900
    frames, block = stack(), take(size)
    keep(frames, block, size)
    return 0


@case("callback of libc through ctypes", c_below={"compare": ["libc."]})
def callback_of_ctypes():
    comparison = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(compare)
    pair = (ctypes.c_int64 * 2)(1, 1)
    qsort = ctypes.CDLL(None).qsort
    for _ in range(TIMES):
        qsort(pair, ctypes.c_size_t(2), ctypes.c_size_t(8), comparison)


def in_thread(size):
    for _ in range(TIMES):
        frames, block = stack(), take(size)
        keep(frames, block, size)


def run_thread(function, *arguments):
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    thread.join()


@case("thread", threaded=True)
def thread():
    run_thread(in_thread, 2000)


def malloc_without_gil(size):
    malloc = ctypes.CDLL(None).malloc
    malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    for _ in range(TIMES):
        frames, block = stack(), malloc(size)
        keep(frames, block, size)


@case("thread without the GIL, ctypes", leaf=["ctypes"], threaded=True)
def thread_without_gil_ctypes():
    run_thread(malloc_without_gil, 2100)


def decompress_without_gil(bz2):
    """The header of a bzip2 stream with blocks of 100,000 bytes makes libbz2, which the module
    calls without the GIL, allocate four times as much at once, and keep it."""
    for _ in range(TIMES // 10):
        decompressor = bz2.BZ2Decompressor()
        frames, empty = stack(), decompressor.decompress(b"BZh1")
        KEPT.append((decompressor, empty))
        hold(frames, 100_000 * 4, 1)


@case("thread without the GIL, bz2", leaf=["bz2"], threaded=True)
def thread_without_gil_bz2():
    try:
        import bz2
    except ImportError as error:
        raise Unavailable(str(error)) from error
    run_thread(decompress_without_gil, bz2)


# Far from its first line, so that every format of line table has to reach out.
GENERATED = (
    "def in_generated(size):\n"
    + "\n" * 400
    + "    frames, block = stack(), take(size)\n"
    + "    keep(frames, block, size)\n"
    + "for _ in range(TIMES):\n"
    + "    in_generated(2200)\n"
)


@case("exec'd code", c_below={"<module>": ["exec", "EvalCode"]}, direct=["in_generated"])
def executed_code():
    code = compile(GENERATED, "<generated code>", "exec")
    KEPT.append(code)
    exec(code, dict(globals()))


in_lambda = lambda size: keep(*(stack(), take(size)), size)  # noqa: E731


@case("lambda", direct=["<lambda>"])
def a_lambda():
    for _ in range(TIMES):
        in_lambda(2300)


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


@decorated
def in_decorated(size):
    frames, block = stack(), take(size)
    keep(frames, block, size)


@case("decorator")
def decorator():
    for _ in range(TIMES):
        in_decorated(2400)


def größe_merken(size):
    frames, block = stack(), take(size)
    keep(frames, block, size)


def 数える(size):
    größe_merken(size)


@case("names that are not ASCII", direct=["größe_merken", "数える"])
def not_ascii():
    for _ in range(TIMES):
        数える(2500)


IN_SUB_INTERPRETER = "\n".join(
    [
        "import os, sys, time",
        f"FREE_THREADED = {FREE_THREADED}",
        "if FREE_THREADED: import ctypes",
        inspect.getsource(taker),
        inspect.getsource(stack),
        "take, KEPT = taker(), []",
        "def in_sub_interpreter(size):",
        "    frames, block = stack(), take(size)",
        "    KEPT.append(block)",
        "    return frames, sys.getsizeof(block) if isinstance(block, bytes) else size",
        # What an interpreter makes once, on first use, is none of the case's.
        "take(1)",
        f"for _ in range({TIMES}):",
        "    result = in_sub_interpreter(2600)",
        "os.write(PIPE, repr(result).encode())",
        # The code dies with the interpreter's answer: it may be looked at before.
        "time.sleep(0.5)",
    ]
)


def interpreters():
    """The module of sub-interpreters, and its function that executes code in one."""
    try:
        if sys.version_info >= (3, 13):
            import _interpreters as module

            return module, module.exec
        import _xxsubinterpreters as module

        return module, module.run_string
    except ImportError as error:
        raise Unavailable(str(error)) from error


@case("sub-interpreter", direct=["in_sub_interpreter"])
def sub_interpreter():
    module, execute = interpreters()
    reader, writer = os.pipe()
    interpreter = module.create()
    AT_END.append(lambda: module.destroy(interpreter))
    code = IN_SUB_INTERPRETER.replace("PIPE", str(writer))
    outer, _ = stack(), execute(interpreter, code)
    os.close(writer)
    text = os.read(reader, 65536).decode()
    frames, held_bytes = eval(text)
    hold(frames, held_bytes * TIMES, TIMES)
    # Those of the interpreter that started it belong to another thread state.
    Case.running.expected["outer_frames"] = outer


def in_own_heap(size):
    frames, block = stack(), bytes(size)
    keep(frames, block, size)


@case("objects of the interpreter's own heap", leaf=["python"], domain="python")
def own_heap():
    if not FREE_THREADED:
        raise Unavailable("objects of this size come from libc, as in every other case")
    for _ in range(TIMES):
        in_own_heap(2700)


def say(**facts):
    print(json.dumps(facts), flush=True)


def wait_for_line():
    while (byte := os.read(0, 1)) not in (b"\n", b""):
        pass


def load_libraries():
    """Has what the cases load mapped before anything is traced: stacks through code that was mapped
    a moment ago are cut, which is a matter of its own."""
    for name in ("bz2", "_interpreters", "_xxsubinterpreters"):
        try:
            importlib.import_module(name)
        except ImportError:
            pass


if __name__ == "__main__":
    load_libraries()
    say(ready=True, own_heap=bool(FREE_THREADED))
    wait_for_line()
    for each in Case.known:
        each.run()
    say(
        program="cases",
        pid=os.getpid(),
        executable=os.path.realpath(sys.executable),
        cases=[each.truth() for each in Case.known],
    )
    wait_for_line()
    for end in AT_END:
        end()
