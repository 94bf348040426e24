"""Holds objects in every way there is, one class for each way, and says so.

Each way holds COUNT objects (or as many as it says). Prints one line of JSON once all is in place:
`counts` (instances by class, as this program made them), `paths` (for each class a regular
expression that the chain must match, steps joined by " -> ") and `optional` (ways for which a
package was missing); then waits for a line, or the end of its input.

The collector is off, so that cycles stay.
"""

import asyncio
import collections
import contextvars
import functools
import gc
import itertools
import json
import queue
import sys
import threading
import types

COUNT = 200
MODERN = sys.version_info

gc.disable()
paths = {}
counts = {}
missing = []


def way(pattern, count=COUNT):
    """A class whose objects are held in one way."""

    def enter(cls):
        paths[cls.__name__] = pattern
        counts[cls.__name__] = count
        return cls

    return enter


class Thing:
    """Made of a few small objects, as things are."""

    def __init__(self, number=0):
        self.number = number


@way(r"^__main__\.GLOBAL\['k\d+'\] -> HeldByGlobal$|^__main__\.GLOBAL\[\*\] -> HeldByGlobal$")
class HeldByGlobal(Thing):
    pass


GLOBAL = {"k%d" % number: HeldByGlobal(number) for number in range(COUNT)}


@way(r"^__main__\.Registry\.entries\[\*\] -> HeldByClass$")
class HeldByClass(Thing):
    pass


class Registry:
    entries = [HeldByClass(number) for number in range(COUNT)]


@way(r"^__main__\.cached_function\.cache\[\*\] -> HeldByLruCache$")
class HeldByLruCache(Thing):
    pass


@functools.lru_cache(None)
def cached_function(number):
    return HeldByLruCache(number)


@way(r"^__main__\.bounded_function\.cache\[\*\] -> HeldByBoundedLru$")
class HeldByBoundedLru(Thing):
    pass


@functools.lru_cache(10_000)
def bounded_function(number):
    return HeldByBoundedLru(number)


@way(r"^__main__\.Parser\.parse\.cache\{\*\}\[\d\] -> HeldAsLruKey$")
class HeldAsLruKey(Thing):
    pass


class Parser:
    @functools.lru_cache(None)
    def parse(self, request):
        return request.number


PARSER = Parser()


@way(r"^__main__\.GATEWAY -> Gateway\._sessions\[\*\] -> Session\._messages\[\*\] -> HeldBySession$")
class HeldBySession(Thing):
    pass


class Session:
    def __init__(self):
        self._messages = [HeldBySession(number) for number in range(COUNT // 10)]


class Gateway:
    def __init__(self):
        self._sessions = {"s%d" % number: Session() for number in range(10)}
        self.hooks = []
        self.errors = []


GATEWAY = Gateway()


@way(r"^__main__\.GATEWAY -> Gateway\.hooks\[\*\] -> .*make_hook\.<locals>\.hook closure 'held' -> HeldByClosure$")
class HeldByClosure(Thing):
    pass


def make_hook(number):
    held = HeldByClosure(number)

    def hook():
        return held

    return hook


@way(r"^__main__\.GATEWAY -> Gateway\.errors\[\*\] -> ValueError\.__traceback__ -> frame fail\(\) local 'held' -> HeldByTraceback$")
class HeldByTraceback(Thing):
    pass


def fail(number):
    held = HeldByTraceback(number)
    raise ValueError(held.number)


@way(r"^__main__\.GATEWAY -> Gateway\.errors\[\*\] -> KeyError\.args\[0\] -> HeldByException$")
class HeldByException(Thing):
    pass


@way(r"^__main__\.DEQUE\[\*\] -> HeldByDeque$")
class HeldByDeque(Thing):
    pass


DEQUE = collections.deque(HeldByDeque(number) for number in range(COUNT))


@way(r"^__main__\.SET\{\*\} -> HeldBySet$")
class HeldBySet(Thing):
    pass


SET = {HeldBySet(number) for number in range(COUNT)}


@way(r"^__main__\.TUPLE\[\*\] -> HeldByTuple$")
class HeldByTuple(Thing):
    pass


TUPLE = tuple(HeldByTuple(number) for number in range(COUNT))


@way(r"^__main__\.GENERATORS\[\*\] -> generator produce\(\) local 'held' -> HeldByGenerator$")
class HeldByGenerator(Thing):
    pass


def produce(number):
    held = HeldByGenerator(number)
    yield held.number
    yield held


GENERATORS = []


@way(r"^__main__\.ORDERED\[\*\] -> HeldByOrderedDict$")
class HeldByOrderedDict(Thing):
    pass


ORDERED = collections.OrderedDict((number, HeldByOrderedDict(number)) for number in range(COUNT))


@way(r"^__main__\.ORDERED_KEYS\{\*\} -> HeldAsOrderedKey$")
class HeldAsOrderedKey(Thing):
    pass


ORDERED_KEYS = collections.OrderedDict((HeldAsOrderedKey(number), 1) for number in range(COUNT))


@way(r"^__main__\.DEFAULTS\[\*\]\[0\] -> HeldByDefaultDict$")
class HeldByDefaultDict(Thing):
    pass


DEFAULTS = collections.defaultdict(list)
for number in range(COUNT):
    DEFAULTS[number].append(HeldByDefaultDict(number))


@way(r"^__main__\.SLOTS\[\*\] -> Slotted\.held -> HeldBySlot$")
class HeldBySlot(Thing):
    pass


class Slotted:
    __slots__ = ("other", "held")

    def __init__(self, held):
        self.held = held


SLOTS = [Slotted(HeldBySlot(number)) for number in range(COUNT)]


@way(r"^__main__\.PARTIALS\[\*\] -> partial\.args\[0\] -> HeldByPartial$")
class HeldByPartial(Thing):
    pass


PARTIALS = [functools.partial(print, HeldByPartial(number)) for number in range(COUNT)]


@way(r"^__main__\.METHODS\[\*\] -> method\.__self__ -> HeldByMethod$")
class HeldByMethod(Thing):
    def run(self):
        pass


METHODS = [HeldByMethod(number).run for number in range(COUNT)]


@way(r"^__main__\.CHAINS\[\*\] -> (chain|list_iterator|tuple_iterator|.* -> (list|tuple)_iterator).* -> HeldByIterator$")
class HeldByIterator(Thing):
    pass


CHAINS = [itertools.chain([HeldByIterator(number)], [1]) for number in range(COUNT)]


@way(r"^__main__\.TEES.* -> HeldByTee$")
class HeldByTee(Thing):
    pass


TEES = list(itertools.tee(map(HeldByTee, range(COUNT))))
for _ in range(COUNT):
    next(TEES[0])


@way(r"^__main__\.QUEUE -> Queue\.queue\[\*\] -> HeldByQueue$")
class HeldByQueue(Thing):
    pass


QUEUE = queue.Queue()


@way(r"^__main__\.SIMPLE -> SimpleQueue\..* -> HeldBySimpleQueue$")
class HeldBySimpleQueue(Thing):
    pass


SIMPLE = queue.SimpleQueue()


@way(r"^__main__\.CONTEXTS\[\*\] -> Context\['VARIABLE'\] -> HeldByContext$")
class HeldByContext(Thing):
    pass


VARIABLE = contextvars.ContextVar("VARIABLE")
OTHER_VARIABLES = [contextvars.ContextVar("V%d" % number) for number in range(40)]
CONTEXTS = []


@way(r"local.*held.* -> HeldByThreadLocal$", 5)
class HeldByThreadLocal(Thing):
    pass


LOCAL = threading.local()


@way(r"^frame work\(\) local 'mine' -> HeldByFrame$", 5)
class HeldByFrame(Thing):
    pass


@way(r"^frame work\(\) local 'several'\[\*\] -> HeldByFrameList$", 5 * COUNT)
class HeldByFrameList(Thing):
    pass


@way(r"coroutine wait_long\(\) local 'held' -> HeldByCoroutine$|task wait_long\(\).* local 'held' -> HeldByCoroutine$")
class HeldByCoroutine(Thing):
    pass


@way(r"^__main__\.FUTURES\[\*\] -> Future\.result -> HeldByFuture$")
class HeldByFuture(Thing):
    pass


FUTURES = []


@way(r"^__main__\.function_with\.marks\[\*\] -> HeldByFunction$")
class HeldByFunction(Thing):
    pass


def function_with(held=None):
    return held


function_with.marks = [HeldByFunction(number) for number in range(COUNT)]


@way(r"^__main__\.with_default\.__defaults__\[0\]\[\*\] -> HeldByDefault$")
class HeldByDefault(Thing):
    pass


def with_default(held=[HeldByDefault(number) for number in range(COUNT)]):
    return held


@way(r"^__main__\.DEEP -> Deep\.inner -> Deep\.inner -> Deep\.__dict__\['odd key'\] -> HeldDeep$|^__main__\.DEEP -> Deep\.inner -> Deep\.inner -> Deep\.odd key -> HeldDeep$", 1)
class HeldDeep(Thing):
    pass


class Deep:
    def __init__(self):
        self.inner = None


DEEP = Deep()
DEEP.inner = Deep()
DEEP.inner.inner = Deep()
DEEP.inner.inner.__dict__["odd key"] = HeldDeep()


@way(None)
class HeldByItself(Thing):
    def __init__(self, number):
        super().__init__(number)
        self.me = self


@way(None)
class HeldInGarbage(Thing):
    pass


for number in range(COUNT):
    HeldByItself(number).other = HeldInGarbage(number)


@way(r"^__main__\.SUBCLASSED\[\*\] -> Subclassed\.extra -> HeldBySubclass$")
class HeldBySubclass(Thing):
    pass


class Subclassed(dict):
    pass


SUBCLASSED = []
for number in range(COUNT):
    one = Subclassed()
    one.extra = HeldBySubclass(number)
    SUBCLASSED.append(one)
del one


@way(r"^__main__\.NAMED\[\*\] -> Named\[1\] -> HeldByNamedTuple$")
class HeldByNamedTuple(Thing):
    pass


Named = collections.namedtuple("Named", "first second")
NAMED = [Named(1, HeldByNamedTuple(number)) for number in range(COUNT)]


@way(r"^__main__\.ANEW\[\*\] -> OfClassMadeAnew$")
class OfClassMadeAnew(Thing):
    pass


# Each of a class of its own, as those are that are made inside functions; all have one name.
ANEW = [type("OfClassMadeAnew", (Thing,), {})(number) for number in range(COUNT)]


@way(r"^__main__\.WEAK_OWNERS\[\*\] -> HeldBesidesWeak$")
class HeldBesidesWeak(Thing):
    pass


@way(r"^__main__\.SPACES\[\*\] -> SimpleNamespace\.held -> HeldByNamespace$")
class HeldByNamespace(Thing):
    pass


SPACES = [types.SimpleNamespace(held=HeldByNamespace(number)) for number in range(COUNT)]


@way(r"^__main__\.WAITING -> Queue\._queue\[\*\] -> HeldByAsyncQueue$")
class HeldByAsyncQueue(Thing):
    pass


WAITING = None


@way(r"^__main__\.DONE\[\*\] -> task finish\(\)\.result -> HeldByTaskResult$")
class HeldByTaskResult(Thing):
    pass


DONE = []


@way(r"Context\['IN_TASK'\] -> HeldByTaskContext$")
class HeldByTaskContext(Thing):
    pass


IN_TASK = contextvars.ContextVar("IN_TASK")


@way(r"_scheduled\[\*\] -> TimerHandle\._args\[0\] -> HeldByTimer$")
class HeldByTimer(Thing):
    pass


import weakref

A_WEAK = weakref.WeakValueDictionary()
AA_WEAK = weakref.WeakSet()
WEAK_OWNERS = [HeldBesidesWeak(number) for number in range(COUNT)]
for owner in WEAK_OWNERS:
    A_WEAK[owner.number] = owner
    AA_WEAK.add(owner)
del owner

try:
    import numpy

    @way(r"^__main__\.ARRAY -> ndarray\[\*\] -> HeldByArray$")
    class HeldByArray(Thing):
        pass

    ARRAY = numpy.empty(COUNT, dtype=object)
    for number in range(COUNT):
        ARRAY[number] = HeldByArray(number)
except ImportError:
    missing.append("numpy")

try:
    import pydantic

    @way(r"^__main__\.MODELS\[\*\] -> Model\.held -> HeldByModel$")
    class HeldByModel(Thing):
        pass

    class Model(pydantic.BaseModel):
        model_config = {"arbitrary_types_allowed": True}
        held: HeldByModel

    MODELS = [Model(held=HeldByModel(number)) for number in range(COUNT)]
except ImportError:
    missing.append("pydantic")


try:
    import multidict

    @way(r"^__main__\.HEADERS -> MultiDict.* -> HeldByMultiDict$")
    class HeldByMultiDict(Thing):
        pass

    HEADERS = multidict.MultiDict(("k%d" % number, HeldByMultiDict(number)) for number in range(COUNT))
except ImportError:
    missing.append("multidict")

try:
    import frozenlist

    @way(r"^__main__\.FROZEN -> FrozenList.*\[\*\] -> HeldByFrozenList$")
    class HeldByFrozenList(Thing):
        pass

    FROZEN = frozenlist.FrozenList(HeldByFrozenList(number) for number in range(COUNT))
except ImportError:
    missing.append("frozenlist")


def work(ready, end):
    mine = HeldByFrame()
    several = [HeldByFrameList(number) for number in range(COUNT)]
    LOCAL.held = HeldByThreadLocal()
    ready.release()
    end.wait()
    return mine, several


async def wait_long(number, event):
    IN_TASK.set(HeldByTaskContext(number))
    held = HeldByCoroutine(number)
    await event.wait()
    return held


async def finish(number):
    return HeldByTaskResult(number)


async def serve():
    event = asyncio.Event()
    tasks = [asyncio.ensure_future(wait_long(number, event)) for number in range(COUNT)]
    loop = asyncio.get_running_loop()
    for number in range(COUNT):
        future = loop.create_future()
        future.set_result(HeldByFuture(number))
        FUTURES.append(future)
        loop.call_later(3600, print, HeldByTimer(number))
    global WAITING
    WAITING = asyncio.Queue()
    for number in range(COUNT):
        WAITING.put_nowait(HeldByAsyncQueue(number))
        DONE.append(asyncio.ensure_future(finish(number)))
    del future
    await asyncio.sleep(0.01)
    say()
    await loop.run_in_executor(None, sys.stdin.readline)
    event.set()
    await asyncio.gather(*tasks)


def say():
    print(json.dumps({"counts": counts, "paths": paths, "missing": missing}), flush=True)


def main():
    for number in range(COUNT):
        cached_function(number)
        bounded_function(number)
        PARSER.parse(HeldAsLruKey(number))
        GATEWAY.hooks.append(make_hook(number))
        try:
            fail(number)
        except ValueError as error:
            GATEWAY.errors.append(error)
        try:
            raise KeyError(HeldByException(number))
        except KeyError as error:
            GATEWAY.errors.append(error)
        generator = produce(number)
        next(generator)
        GENERATORS.append(generator)
        QUEUE.put(HeldByQueue(number))
        SIMPLE.put(HeldBySimpleQueue(number))
        context = contextvars.Context()
        context.run(VARIABLE.set, HeldByContext(number))
        for variable in OTHER_VARIABLES[: number % 40]:
            context.run(variable.set, number)
        CONTEXTS.append(context)
    ready, end = threading.Semaphore(0), threading.Event()
    threads = [threading.Thread(target=work, args=(ready, end)) for _ in range(5)]
    for thread in threads:
        thread.start()
        ready.acquire()
    del generator, context, thread, variable
    asyncio.run(serve())
    end.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
