"""Builds known objects of many types and says how many of each type the process holds.

    python heap_truth.py [--churn] [--large]

Each line on stdin is answered with the truth as one JSON line (the first one is printed unasked);
the end of stdin ends it. `types` are all objects that Python itself can reach, by type: what the
collector knows, what that refers to, and the parts of code objects. `exact` are the types whose
objects all were made here, with the bytes that the allocator pays for them (None where they are
not computed): their counts are not a matter of what can be reached. `unseen` are types of which
Python cannot reach all: of those there may be more.

With `--churn` threads replace objects as fast as they can: the numbers stay what they are, while
every object comes and goes. Runs on CPython 3.8 to 3.15 and on builds without the GIL.
"""

import argparse
import collections
import ctypes
import dataclasses
import enum
import functools
import gc
import json
import os
import sys
import threading
import types
import weakref

# Above this many bytes Python's allocator leaves a request to malloc.
SMALL_BYTES = 512
# What malloc adds to a block.
CHUNK_HEADER_BYTES = 8
KEPT = []
# Blocks then lie elsewhere in what malloc returned.
PREFIXED = "debug" in os.environ.get("PYTHONMALLOC", "")
FREE_THREADED = hasattr(sys, "_is_gil_enabled") and "t" in getattr(sys, "abiflags", "")

libc = ctypes.CDLL(None)
libc.malloc_usable_size.argtypes = [ctypes.c_void_p]
libc.malloc_usable_size.restype = ctypes.c_size_t


class Slotted:
    __slots__ = ("a", "b")


class Plain:
    def __init__(self, number):
        self.number = number
        self.name = "a name"
        self.other = None


class Asked(Plain):
    """Its dict was asked for, and so is an object of its own."""


class Wide:
    def __init__(self, number):
        for index in range(60):
            setattr(self, "field_%d" % index, number)


class Watched:
    """Somebody holds a weak reference to each."""


class Circle:
    def __init__(self):
        self.me = self


class Outer:
    class Inner:
        pass


class Table(list):
    __slots__ = ()


class Book(dict):
    __slots__ = ()


class Bag(set):
    __slots__ = ()


class Frozen(frozenset):
    __slots__ = ()


class Pair(tuple):
    __slots__ = ()


class Text(str):
    __slots__ = ()


class Blob(bytes):
    __slots__ = ()


class Buffer(bytearray):
    __slots__ = ()


class Number(int):
    __slots__ = ()


class Real(float):
    __slots__ = ()


class Ring(collections.deque):
    pass


class Ordered(collections.OrderedDict):
    pass


class Default(collections.defaultdict):
    pass


class Trouble(Exception):
    pass


class Maker(type):
    """Types of types."""


class Coloured(enum.Enum):
    RED = 1
    GREEN = 2
    BLUE = 3


@dataclasses.dataclass
class Record:
    key: int
    value: str


Point = collections.namedtuple("Point", "x y")
# A class whose module is none of this program.
Elsewhere = type("Elsewhere", (), {"__module__": "some.other.module", "__qualname__": "In.Elsewhere"})


def paid(address, size_bytes):
    """What the allocator pays for a block of this size; a large one is asked of malloc itself."""
    if size_bytes <= SMALL_BYTES:
        return (size_bytes + 15) // 16 * 16
    return libc.malloc_usable_size(address) + CHUNK_HEADER_BYTES


def own_block(thing):
    """Of an object that owns nothing beside itself; its header included."""
    kind = type(thing)
    before = 16 if kind.__flags__ & (1 << 14) else 0
    # One item more than asked for is what Python gives to each object of a type of one's own.
    size_bytes = (sys.getsizeof(thing) + kind.__itemsize__ + 7) // 8 * 8
    return paid(id(thing) - before, size_bytes)


def word_at(address):
    return ctypes.c_uint64.from_address(address).value


def list_blocks(thing):
    # What getsizeof says is the object and its table.
    allocated = word_at(id(thing) + 32)
    table = paid(word_at(id(thing) + 24), 8 * allocated) if allocated else 0
    return paid(0, 16 + 40) + table


def text_blocks(thing):
    # A str of a type of one's own keeps its text beside it, and a pointer to that last.
    kind = type(thing)
    before = 16 if kind.__flags__ & (1 << 14) else 0
    text_bytes = (len(thing) + 1) * (1 if thing.isascii() else 2)
    text = paid(word_at(id(thing) + kind.__basicsize__ - 8), text_bytes)
    return paid(0, before + kind.__basicsize__) + text


def no_bytes(_thing):
    return None


def keep(things):
    KEPT.append(things)
    return things


def trouble(number):
    try:
        raise Trouble(number)
    except Trouble as error:
        return error


def build():
    """The types whose objects are all made here, each with what counts its bytes."""
    slotted = keep([Slotted() for _ in range(20000)])
    for number, thing in enumerate(slotted):
        thing.a, thing.b = number, None
    keep([Plain(number) for number in range(10000)])
    keep([Asked(number) for number in range(3000)])
    keep([asked.__dict__ for asked in KEPT[-1]])
    keep([Wide(number) for number in range(400)])
    keep([Watched() for _ in range(2000)])
    keep([weakref.ref(watched) for watched in KEPT[-1]])
    keep([Circle() for _ in range(1000)])
    keep([Outer.Inner() for _ in range(700)])
    keep([Elsewhere() for _ in range(300)])
    keep([Table(range(length % 700)) for length in range(2000)])
    keep([Book((str(n), n) for n in range(length % 120)) for length in range(1500)])
    keep([Bag(range(length % 90)) for length in range(1200)])
    keep([Frozen(range(length % 90)) for length in range(1200)])
    keep([Pair(range(length % 120)) for length in range(1500)])
    keep([Text("x" * (length % 1500)) for length in range(3000)])
    keep([Text("\u20ac" * (length % 400 + 1)) for length in range(400)])
    keep([Blob(length % 1500) for length in range(3000)])
    keep([Buffer(length % 1500) for length in range(1500)])
    keep([Number(1 << (number % 3000)) for number in range(3000)])
    keep([Real(number) for number in range(3000)])
    keep([Ring(range(length % 300)) for length in range(600)])
    keep([Ordered((n, n) for n in range(length % 40)) for length in range(500)])
    keep([Default(list) for _ in range(500)])
    keep([trouble(number) for number in range(800)])
    keep([Record(number, "value") for number in range(1700)])
    keep([Point(number, number) for number in range(1300)])
    keep([Maker("Made%d" % number, (), {}) for number in range(40)])
    exact = {
        Slotted: own_block, Pair: own_block, Text: text_blocks, Blob: own_block, Number: own_block,
        Real: own_block, Table: list_blocks,
    }
    others = (
        Plain, Asked, Wide, Watched, Circle, Outer.Inner, Elsewhere, Book, Bag, Frozen, Buffer,
        Ring, Ordered, Default, Trouble, Record, Point, Coloured, Maker,
    )
    exact.update((other, no_bytes) for other in others)
    return exact


def build_common(large):
    """Objects of Python's own types, in all sizes."""
    keep([list(range(length)) for length in range(300)])
    keep([{n: str(n) for n in range(length)} for length in range(200)])
    keep([{"key%d" % n: n for n in range(length)} for length in range(200)])
    keep([set(range(length)) for length in range(200)])
    keep([tuple(range(length)) for length in range(200)])
    keep([collections.deque(range(length)) for length in range(200)])
    keep([str(number) + "!" for number in range(20000)])
    keep(["\u00e9" * length for length in range(1, 500)])
    keep(["\U0001f40d" * length for length in range(1, 500)])
    keep([bytes(length) for length in range(2, 2000)])
    keep([bytearray(length) for length in range(1, 1000)])
    keep([float(number) + 0.5 for number in range(10000)])
    keep([complex(number, 1) for number in range(1000)])
    keep([number + 10**6 for number in range(20000)])
    keep([closure_of(number) for number in range(1000)])
    keep([functools.partial(closure_of, number) for number in range(400)])
    keep([KEPT[0].append for _ in range(500)])
    keep([a_generator() for _ in range(500)])
    for generator in KEPT[-1]:
        next(generator)
    keep([bytes(100000) for _ in range(40)])
    keep(["x" * 1000000 for _ in range(4)])
    keep([list(range(50000)), dict.fromkeys(range(50000)), set(range(50000))])
    keep([types.SimpleNamespace(number=number) for number in range(300)])
    if large:
        keep([[{"at": number, "text": "message %d" % number}] for number in range(large * 2500)])


def closure_of(number):
    def inner():
        return number

    return inner


def a_generator():
    held = object()
    yield held
    yield held


def build_extensions():
    """What is there of well-known packages; their names."""
    there = []
    try:
        import numpy

        keep([numpy.array([object() for _ in range(20)], dtype=object) for _ in range(200)])
        keep([numpy.zeros(1000) for _ in range(100)])
        there.append("numpy")
    except ImportError:
        pass
    try:
        import pydantic

        class Model(pydantic.BaseModel):
            number: int
            name: str

        Model.__qualname__ = "Model"
        keep([Model(number=number, name="name %d" % number) for number in range(900)])
        exact[Model] = no_bytes
        there.append("pydantic")
    except ImportError:
        pass
    return there


class Churn(threading.Thread):
    """Replaces the objects of a ring, one after the other: as many as there were stay."""

    def __init__(self, objects):
        super().__init__(daemon=True)
        self.objects = objects
        self.rounds = 0

    def run(self):
        objects = self.objects
        while True:
            for index in range(len(objects)):
                old = objects[index]
                if type(old) is Slotted:
                    new = Slotted()
                    new.a, new.b = index, None
                else:
                    new = type(old)(index)
                objects[index] = new
                del old, new
            self.rounds += 1


def name_of(kind):
    module = type.__dict__["__module__"].__get__(kind)
    name = type.__dict__["__qualname__"].__get__(kind)
    return name if module == "builtins" else "%s.%s" % (module, name)


CODE_PARTS = (
    "co_consts", "co_names", "co_filename", "co_name", "co_qualname", "co_linetable", "co_lnotab",
    "co_exceptiontable",
)
# Lives only as long as it is looked at.
MADE_BY_LOOKING = {"co_lnotab"} if sys.version_info >= (3, 10) else set()


def reachable():
    """Every object that Python can reach, by type. Objects stay where they are meanwhile."""
    gc.collect()
    mine = [gc.get_objects()]
    seen = {id(thing) for thing in mine[0]}
    todo = mine[0]
    counts = collections.Counter(map(type, todo))
    numpy = sys.modules.get("numpy")
    while todo:
        found = []
        for thing in todo:
            parts = gc.get_referents(thing)
            if type(thing) is types.CodeType:
                names = (n for n in CODE_PARTS if n not in MADE_BY_LOOKING and hasattr(thing, n))
                parts += [getattr(thing, name) for name in names]
            elif isinstance(thing, dict):
                # The collector does not care for keys where all of them are texts.
                parts += dict.keys(thing)
            elif numpy is not None and isinstance(thing, numpy.ndarray) and thing.dtype == object:
                # It tells the collector nothing.
                parts += thing.ravel().tolist()
            for part in parts:
                if id(part) not in seen and part is not mine and part is not seen:
                    seen.add(id(part))
                    counts[type(part)] += 1
                    found.append(part)
        todo = found
    return counts


def truth():
    counts = collections.Counter()
    for kind, count in reachable().items():
        counts[name_of(kind)] += count
    made = {name_of(kind): [0, 0] for kind in exact}
    for things in KEPT:
        for thing in things:
            kind = type(thing)
            if kind in exact:
                row = made[name_of(kind)]
                row[0] += 1
                size_bytes = None if FREE_THREADED or PREFIXED else exact[kind](thing)
                row[1] = None if size_bytes is None or row[1] is None else row[1] + size_bytes
    made[name_of(Coloured)] = [len(Coloured), None]
    return {"types": dict(counts), "exact": made}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--churn", action="store_true")
    parser.add_argument("--large", type=int, default=0, help="about this many MB more")
    args = parser.parse_args()
    global exact
    exact = build()
    build_common(args.large)
    extensions = build_extensions()
    gc.collect()
    told = truth()
    told.update(version=sys.version.split()[0], extensions=extensions, churn=args.churn)
    told["free_threaded"] = FREE_THREADED
    line = json.dumps(told)
    del told
    churning = []
    if args.churn:
        for things in KEPT:
            if type(things[0]) in (Slotted, Plain, Real):
                churning.append(Churn(things))
                churning[-1].start()
    print(line, flush=True)
    del line
    for _ in sys.stdin:
        print(json.dumps(truth()), flush=True)


main()
