"""Containers that grow by known numbers of entries, and types that grow by known numbers of objects.

Says what it holds as one JSON line. Each line on stdin makes everything grow once more by the same,
and is answered with what it holds then; the end of stdin ends it. `containers` are lengths by the
path that a person would write; `types` are objects by type. Besides, much is held that does not
grow, and something that is replaced as often as it grows.
"""

import collections
import functools
import json
import sys


class Session:
    __slots__ = ("number", "text")

    def __init__(self, number):
        self.number = number
        self.text = "session %d of many" % number


class Message(Session):
    __slots__ = ()


class Job(Session):
    __slots__ = ()


class Hook(Session):
    __slots__ = ()


class Steady(Session):
    __slots__ = ()


class Replaced(Session):
    __slots__ = ()


class Agent:
    def __init__(self):
        self._session_messages = []


class Gateway:
    hooks = []

    def __init__(self):
        self._agent_cache = {"first": Agent()}
        self._sessions = {}


GW = Gateway()
JOBS = collections.deque()
NAMES = set()
STEADY = [Steady(number) for number in range(30000)]
REPLACED = collections.OrderedDict((number, Replaced(number)) for number in range(5000))


@functools.lru_cache(None)
def answer(question):
    return Message(question)


class Made:
    """How often each was made."""

    sessions = messages = jobs = hooks = names = answers = replaced = 0


def grow():
    for _ in range(2000):
        GW._sessions["session-%06d" % Made.sessions] = Session(Made.sessions)
        Made.sessions += 1
    messages = GW._agent_cache["first"]._session_messages
    for _ in range(3000):
        messages.append(Message(Made.messages))
        Made.messages += 1
    for _ in range(1500):
        JOBS.append(Job(Made.jobs))
        Made.jobs += 1
    for _ in range(700):
        Gateway.hooks.append(Hook(Made.hooks))
        Made.hooks += 1
    for _ in range(2500):
        NAMES.add("name-%d" % Made.names)
        Made.names += 1
    for _ in range(1000):
        answer(Made.answers)
        Made.answers += 1
    for number in range(5000):
        REPLACED[number] = Replaced(number)


def told():
    return {
        "containers": {
            "__main__.GW -> Gateway._sessions": len(GW._sessions),
            "__main__.GW -> Gateway._agent_cache['first'] -> Agent._session_messages": len(
                GW._agent_cache["first"]._session_messages
            ),
            "__main__.JOBS": len(JOBS),
            "__main__.Gateway.hooks": len(Gateway.hooks),
            "__main__.NAMES": len(NAMES),
            "__main__.answer": answer.cache_info().currsize,
        },
        "types": {
            "__main__.Session": Made.sessions,
            "__main__.Message": Made.messages + Made.answers,
            "__main__.Job": Made.jobs,
            "__main__.Hook": Made.hooks,
        },
        "level": {"__main__.Steady": len(STEADY), "__main__.Replaced": len(REPLACED)},
    }


def main():
    grow()
    print(json.dumps(told()), flush=True)
    for _ in sys.stdin:
        grow()
        print(json.dumps(told()), flush=True)


main()
