import collections, gc, json, sys, threading

class Plain: pass
class Slotted:
    __slots__ = ('first', 'second')
class Named(Plain):
    def __init__(self, number):
        self.name = 'name %d' % number
        self.number = number * 1000003
        self.more = [number]
class Outer:
    class Inner: pass
class OwnDict(dict): pass
class OwnList(list): pass
class OwnText(str): pass
class Meta(type): pass
class Built(metaclass=Meta): pass
class Failure(Exception): pass

def generate():
    local = Outer.Inner()
    yield local
    yield

keep = {
    'plain': [Plain() for _ in range(3000)],
    'slotted': [Slotted() for _ in range(4000)],
    'named': {number: Named(number) for number in range(5000)},
    'inner': [Outer.Inner() for _ in range(700)],
    'dicts': [OwnDict(a=1, b=number) for number in range(600)],
    'lists': [OwnList(range(number)) for number in range(500)],
    'texts': [OwnText('text %d' % number) for number in range(400)],
    'wide': ['\u20ac' * number for number in range(1, 300)] + ['\U0001f600' * number for number in range(1, 300)],
    'built': [Built() for _ in range(100)],
    'failures': [Failure(number) for number in range(200)],
    'sets': [set(range(number)) for number in range(300)],
    'deques': [collections.deque(range(number)) for number in range(250)],
    'bytes': [b'x' * (number * 50) for number in range(400)],
    'arrays': [bytearray(number * 10) for number in range(350)],
    'big': [0] * 500000,
    'ints': [number << 70 for number in range(1000)],
    'tuples': [(number, 'a', None) for number in range(900)],
    'generators': [generate() for _ in range(150)],
    'closures': [(lambda captured: lambda: captured)(Outer.Inner()) for _ in range(120)],
    'by_name': {'key %d' % number: number for number in range(20000)},
    'cycle': [],
}
for generator in keep['generators']: next(generator)
keep['cycle'].append(keep['cycle'])

def closure():
    gc.collect()
    seen = {}
    waiting = gc.get_objects()
    waiting.append(None)
    own = {id(waiting), id(seen)}
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or id(thing) in own: continue
        seen[id(thing)] = type(thing)
        if isinstance(thing, type(closure.__code__)):
            more = [thing.co_consts, thing.co_names, thing.co_filename, thing.co_name, thing.co_lnotab if sys.version_info < (3, 10) else thing.co_linetable]
            if sys.version_info >= (3, 11): more += [thing.co_qualname, thing.co_exceptiontable]
            # What is computed anew at each look is not there.
            waiting.extend(more)
        else:
            waiting.extend(gc.get_referents(thing))
    counts = collections.Counter()
    for kind in seen.values():
        module = type.__getattribute__(kind, '__module__')
        name = kind.__qualname__ if module == 'builtins' else '%s.%s' % (module, kind.__qualname__)
        counts[name] += 1
    return counts

def churn():
    while True:
        things = [{'a': number, 'b': [number]} for number in range(200)]
        more = [Busy() for _ in range(200)]
        del things, more

class Busy: pass

def main():
    print(json.dumps(closure()), flush=True)
    if sys.argv[1] == 'busy':
        # What it makes is not counted; what it leaves alone is.
        threading.Thread(target=churn, daemon=True).start()
    while sys.stdin.readline():
        for _ in range(600): keep['plain'].append(Plain())
        for number in range(3000): keep['by_name']['later %d' % number] = number
        keep['deques'][200].extend(range(1500))
        keep['sets'][299].update(range(1000, 1900))
        keep['arrays'][349].extend(bytes(5000))
        print(json.dumps(closure()), flush=True)
main()
