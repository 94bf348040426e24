"""A process whose heap is not what it should be. `heap_hostile.py CASE`:

    scribble    headers of pools, of all kinds of nonsense; free lists that run in circles
    long_names  types whose names have 10 MB
    type_cycle  types that are their own bases, and types of types in circles
    refcounts   reference counts beyond all bounds, and negative ones
    lengths     lists, tuples, dicts, strings and integers that say that they are enormous
    pointers    objects whose fields point anywhere, at themselves included
    lookalikes  memory full of what looks like objects, types and pools, and is none
    deep        two million lists, one in the other

Says `{"ready": true}` with `marked`: how many objects of `__main__.Marked` there are, none of which
is touched; then it calls nothing of Python's but a read of stdin, and ends of its end by _exit, as
it could not end in order. x86-64, CPython 3.8 to 3.15.
"""

import ctypes
import json
import os
import random
import sys

MARKED = 5000
POOL_BYTES = 4096 if sys.version_info < (3, 10) else 16384
KEPT = []
memory = ctypes.memmove


class Marked:
    __slots__ = ("number",)


def word(address):
    return ctypes.c_uint64.from_address(address)


def half(address):
    return ctypes.c_uint32.from_address(address)


class Sacrificed:
    """Of a size that little else is: 29 fields and a header."""

    __slots__ = tuple("f%d" % number for number in range(29))


def scribble():
    """Pools that hold nothing but what is kept here: nobody else stumbles over them."""
    objects = [Sacrificed() for _ in range(30000)]
    pools = {}
    for thing in objects:
        pools.setdefault(id(thing) & -POOL_BYTES, []).append(thing)
    KEPT.append(objects)
    rng = random.Random(1)
    capacity = max(map(len, pools.values()))
    full = [base for base, inside in pools.items() if len(inside) == capacity]
    # Some allocate on in the pools that are not full, so those stay as they are.
    for number, base in enumerate(full):
        kind = number % 10
        if kind == 0:  # more in use than there is room for
            half(base).value = 0xFFFFFFFF
        elif kind == 1:  # a free list in a circle
            word(base + 8).value = base + 48
            word(base + 48).value = base + 48
        elif kind == 2:  # a free list out into nowhere
            word(base + 8).value = 0x7FFF_FFFF_FFF0
        elif kind == 3:  # no size class
            half(base + 36).value = 0xFFFFFFFF
        elif kind == 4:  # another size class
            half(base + 36).value = 0
        elif kind == 5:  # all behind the end
            half(base + 40).value = 0xFFFFFFF0
            half(base + 44).value = 0xFFFFFFFF
        elif kind == 6:  # a free list through the next pools
            word(base + 8).value = base + POOL_BYTES + 48
        elif kind == 7:
            for offset in range(0, 48, 8):
                word(base + offset).value = rng.getrandbits(64)
        elif kind == 8:  # noise all over
            noise = rng.getrandbits(8 * POOL_BYTES).to_bytes(POOL_BYTES, "little")
            memory(base, noise, POOL_BYTES)
        else:  # an unaligned free list
            word(base + 8).value = base + 51
    return {"pools": len(full)}


def long_names():
    name = "x" * 10_000_000
    kinds = [type(name, (), {}) for _ in range(3)]
    kinds.append(type("y", (), {"__module__": name, "__qualname__": name}))
    kinds.append(type("\x1b[31mred\n\x07", (), {"__module__": "\u202e\x00m"}))
    KEPT.append([[kind() for _ in range(1000)] for kind in kinds])
    KEPT.append({name: name, "other": {name + "z": KEPT}})
    return {"types": len(kinds)}


def type_cycle():
    class A:
        pass

    class B(A):
        pass

    class C(B):
        pass

    class Meta(type):
        pass

    class D(metaclass=Meta):
        pass

    class E:
        pass

    KEPT.append([[kind() for _ in range(1000)] for kind in (A, B, C, D, E)])
    KEPT.append((A, B, C, D, E, Meta))
    base, kind, mro, members = 256, 8, 344, 240
    word(id(A) + base).value = id(C)
    word(id(E) + base).value = id(E)
    word(id(Meta) + kind).value = id(D)
    word(id(D) + kind).value = id(D)
    word(id(C) + mro).value = id(C)
    word(id(B) + members).value = id(B)
    return {"types": 6}


def refcounts():
    things = [[number] for number in range(10000)]
    KEPT.append(things)
    for number, thing in enumerate(things):
        word(id(thing)).value = (1 << 62, (1 << 64) - 1, 1 << 33, 0xFFFFFFFF, 1 << 63)[number % 5]
    return {"objects": len(things)}


def lengths():
    rng = random.Random(2)
    huge = (1 << 63) - 1
    for kind in (list, tuple, dict, set, str, bytes, int, bytearray):
        things = []
        for number in range(500):
            if kind is int:
                things.append(10**40 + number)
            elif kind is str:
                things.append("text %d" % number)
            elif kind in (bytes, bytearray):
                things.append(kind(50))
            elif kind is dict:
                things.append({number: number, "k": number})
            else:
                things.append(kind(range(number, number + 5)))
        KEPT.append(things)
    for things in KEPT[-8:]:
        for number, thing in enumerate(things):
            field = 24 if type(thing) is set else 16
            word(id(thing) + field).value = (huge, 1 << 40, (1 << 64) - 8, rng.getrandbits(64))[number % 4]
            if type(thing) is set:
                word(id(thing) + 32).value = huge
            if type(thing) is dict and number % 2:
                keys = word(id(thing) + 32).value
                for offset in range(8, 32, 8):
                    word(keys + offset).value = rng.getrandbits(64)
    return {"objects": 4000}


class Fields:
    __slots__ = tuple("f%d" % number for number in range(6))


def pointers():
    rng = random.Random(3)
    things = [Fields() for _ in range(20000)]
    lists = [[None] * 4 for _ in range(5000)]
    instances = [type("Instance", (), {})() for _ in range(200)]
    for instance in instances:
        instance.field = 1
    KEPT.extend((things, lists, instances))
    base = sys.getsizeof(things[0]) - 16 - 6 * 8
    for number, thing in enumerate(things):
        for field in range(6):
            target = (
                id(thing), id(things[number - 1]) + 8, rng.getrandbits(64), 8,
                0x7FFF_FFFF_F000, id(things) + 3,
            )[(number + field) % 6]
            word(id(thing) + base + 8 * field).value = target
    for number, thing in enumerate(lists):
        word(id(thing) + 24).value = (id(thing), rng.getrandbits(64), 1, id(lists) + 4)[number % 4]
    for number, thing in enumerate(instances):
        for offset in (-24, -32):
            word(id(thing) + offset).value = (id(thing), rng.getrandbits(64), 1, 3)[number % 4]
    return {"objects": len(things)}


def lookalikes():
    """Blocks of malloc that are full of types, objects and headers of pools."""
    kind = id(type)
    blocks = []
    for number in range(24):
        block = ctypes.create_string_buffer(1 << 20)
        start = -(-ctypes.addressof(block) // POOL_BYTES) * POOL_BYTES
        end = ctypes.addressof(block) + (1 << 20)
        if number % 3 == 0:  # copies of a heap type, one every 1,100 bytes
            for at in range(start, end - 2048, 1104):
                memory(at, id(Marked), 1000)
        elif number % 3 == 1:  # words that are the type of types
            for at in range(start, end - 8, 8):
                word(at).value = kind
        else:  # pools of nothing but themselves
            for at in range(start, end - POOL_BYTES, POOL_BYTES):
                memory(at, id(KEPT) & -POOL_BYTES, 48)
                word(at + 8).value = at + 48
        blocks.append(block)
    KEPT.append(blocks)
    return {"blocks": len(blocks)}


def deep():
    inner = []
    for _ in range(2_000_000):
        inner = [inner]
    KEPT.append(inner)
    circle = []
    for _ in range(100_000):
        circle = [circle, circle]
    KEPT.append(circle)
    return {"depth": 2_000_000}


def main():
    case = sys.argv[1]
    marked = [Marked() for _ in range(MARKED)]
    cases = (scribble, long_names, type_cycle, refcounts, lengths, pointers, lookalikes, deep)
    chosen = next(each for each in cases if each.__name__ == case)
    import gc

    gc.disable()
    line = json.dumps({"ready": True, "case": case, "marked": MARKED, "pid": os.getpid()})
    raw = (line + "\n").encode()
    chosen()
    os.write(1, raw)
    while os.read(0, 4096):
        os.write(1, b"{\"alive\": true}\n")
    os._exit(0 if len(marked) == MARKED else 1)


main()
