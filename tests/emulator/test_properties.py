"""What holds for every sequence of requests, whatever is marked and whenever it is sent."""

import copy
import json
import random
from datetime import timedelta

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convcache.emulator import Emulator, Settings, VirtualClock
from convcache.emulator.wire import Request, compact

TTLS = {"5m": 300, "1h": 3600}

blocks = st.tuples(st.sampled_from("abc"), st.sampled_from([None, None, None, "5m", "1h"]))
requests = st.lists(blocks, min_size=1, max_size=26)
starts = st.sampled_from([0, 0, 30, 299, 300])


@attrs.frozen
class Ask:
    """A request of one user turn, how long after the last one it comes and how long until it starts."""

    parts: list
    pause: int
    slow: int | None
    """Seconds until its response starts; `None` if the client leaves before."""


asks = st.builds(
    Ask,
    parts=requests,
    pause=st.sampled_from([0, 1, 200, 299, 300, 301, 3599, 3600, 4000]),
    slow=st.one_of(st.none(), starts, starts, starts),
)


def legal(parts):
    """The same blocks with the marks that the API allows: four, and an hour never after five minutes."""
    kept, marks, short = [], 0, False
    for words, asked in parts:
        ttl = None if marks == 4 else "5m" if asked and short else asked
        marks, short = marks + bool(ttl), short or ttl == "5m"
        kept.append((words, ttl))
    return kept


def request_for(parts):
    content = [
        {
            "type": "text",
            "text": words,
            **({"cache_control": {"type": "ephemeral", "ttl": ttl}} if ttl else {}),
        }
        for words, ttl in parts
    ]
    body = {"model": "claude-opus-4-8", "max_tokens": 0, "messages": [{"role": "user", "content": content}]}
    return Request(
        method="POST", path="/v1/messages", headers={"x-api-key": "k"}, body=compact(body).encode()
    )


@attrs.define
class Account:
    """The rules told a second time, over the texts themselves: what is held, for how long, until when."""

    minimum: int
    held: dict = attrs.field(factory=dict)

    def expected(self, parts, at):
        """Read, written for five minutes, written for an hour, of a request that starts now."""
        marks = self.marks(parts)
        reach = next((length for mark in reversed(marks) for length in self.found(parts, mark, at)), 0)
        hour = max((mark for mark in marks if parts[mark - 1][1] == "1h" and mark > reach), default=reach)
        return reach, max([*marks, reach]) - hour, hour - reach

    def settle(self, parts, at, reach):
        """What is held once the response has started."""
        if reach:
            ttl = self.held[text(parts, reach)][0]
            self.hold(text(parts, reach), ttl, at)
        for mark in self.marks(parts):
            asked = timedelta(seconds=TTLS[parts[mark - 1][1]])
            known = self.alive(text(parts, mark), at)
            if mark > reach:
                self.hold(text(parts, mark), asked, at)
            else:
                self.hold(text(parts, mark), known[0] if known else min(asked, ttl), at)

    def marks(self, parts):
        return [length for length, (_, ttl) in enumerate(parts, 1) if ttl and length >= self.minimum]

    def found(self, parts, mark, at):
        window = range(mark, max(mark - 20, 0), -1)
        return [length for length in window if self.alive(text(parts, length), at)][:1]

    def alive(self, words, at):
        ttl_and_end = self.held.get(words)
        return ttl_and_end if ttl_and_end and at < ttl_and_end[1] else None

    def hold(self, words, ttl, at):
        known = self.alive(words, at)
        self.held[words] = (ttl, max(at + ttl, known[1] if known else at + ttl))


def text(parts, length):
    return "".join(words for words, _ in parts[:length])


@settings(max_examples=200, deadline=None)
@given(st.lists(asks, min_size=1, max_size=12), st.sampled_from([0, 3]), st.sampled_from([0, 2]))
def test_usage_always_adds_up_and_nothing_is_read_that_was_not_there(asks, minimum, residual):
    """T29, and: what is read was written, visible, alive and identical, no less and no more than the rules say."""
    clock, account = VirtualClock(), Account(minimum)
    emulator = Emulator(Settings(minimum=minimum, residual_tail_tokens=residual), clock=clock)
    for ask in asks:
        clock.advance(timedelta(seconds=ask.pause))
        parts, at = legal(ask.parts), clock.now()
        pending = emulator.receive(request_for(parts), at=at)
        if ask.slow is None:
            assert emulator.requests[-1].usage.prompt == 0
            continue
        clock.advance(timedelta(seconds=ask.slow))
        assert pending.start(clock.now()).status == 200
        usage = emulator.requests[-1].usage
        assert usage.prompt == len(parts) + residual
        assert usage.uncached >= residual
        assert (usage.read, usage.written_5m, usage.written_1h) == account.expected(parts, at)
        account.settle(parts, at, usage.read)


@settings(max_examples=60, deadline=None)
@given(st.lists(requests, min_size=2, max_size=8))
def test_a_request_sent_twice_is_read_up_to_its_last_mark(many):
    """At once, nothing in between: the second reads all that the first read and wrote, and writes nothing."""
    emulator = Emulator(Settings(minimum=0), clock=VirtualClock())
    for parts in map(legal, many):
        for _ in "12":
            emulator.receive(request_for(parts), at=emulator.clock.now()).start(emulator.clock.now())
        first, second = (record.usage for record in emulator.requests[-2:])
        assert second.read == first.read + first.written
        assert second.written == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(requests, min_size=1, max_size=8), st.sampled_from([299, 301, 3599, 3601]))
def test_an_hour_is_never_bought_for_the_price_of_a_read(many, pause):
    """What was billed for five minutes at most is gone five minutes after the last request."""
    clock = VirtualClock()
    emulator = Emulator(Settings(minimum=0), clock=clock)
    hours_billed = 0
    for parts in map(legal, many):
        emulator.receive(request_for(parts), at=clock.now()).start(clock.now())
        hours_billed += emulator.requests[-1].usage.written_1h
    clock.advance(timedelta(seconds=pause))
    if pause > 3600 or (pause > 300 and not hours_billed):
        assert emulator.entries == []


MARK = {"type": "ephemeral"}
WHOLE = {
    "model": "claude-opus-4-8",
    "max_tokens": 30,
    "stream": False,
    "system": [{"type": "text", "text": "be kind", "cache_control": MARK}],
    "tools": [
        {"name": "look", "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}}},
        {"type": "web_search_20250305", "name": "web_search"},
    ],
    "tool_choice": {"type": "auto"},
    "thinking": {"type": "adaptive"},
    "output_config": {"effort": "high"},
    "messages": [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "h", "signature": "s"},
                {"type": "tool_use", "id": "t", "name": "look", "input": {"a": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "x"}]},
                {
                    "type": "document",
                    "source": {"type": "content", "content": [{"type": "text", "text": "q"}]},
                },
                {"type": "text", "text": "use look", "cache_control": {"type": "ephemeral", "ttl": "5m"}},
            ],
        },
    ],
}
NONSENSE = [
    None,
    True,
    0,
    -1,
    1.5,
    10**30,
    "",
    "x",
    "any",
    "tool_use",
    [],
    {},
    [None],
    [[]],
    [{}],
    {"type": []},
]
NONSENSE += [{"type": "text", "text": "a"}, {"$ref": "#"}, {"anyOf": [{"$ref": "#"}]}, {"enum": []}, "\ud800"]
KEYS = ["type", "content", "cache_control", "input_schema", "schema", "format", "source", "name", "citations"]


def damaged(body, chance):
    """The body with up to three places replaced, left out or added."""
    body = copy.deepcopy(body)
    for _ in range(chance.choice([1, 1, 2, 3])):
        holder, key = chance.choice(list(places(body)))
        deed = chance.random()
        if deed < 0.6:
            holder[key] = copy.deepcopy(chance.choice(NONSENSE))
        elif deed < 0.8 or isinstance(holder, list):
            del holder[key]
        else:
            holder[chance.choice(KEYS)] = copy.deepcopy(chance.choice(NONSENSE))
    return body


def places(value):
    inner = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    for key, part in inner:
        yield value, key
        if isinstance(part, dict | list):
            yield from places(part)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_any_body_gets_an_answer_or_an_error_of_the_api(path):
    emulator, chance = Emulator(Settings(minimum=0), clock=VirtualClock()), random.Random(17)
    statuses = set()
    for _ in range(600):
        sent = json.dumps(damaged(WHOLE, chance)).encode()
        request = Request(method="POST", path=path, headers={"x-api-key": "k"}, body=sent)
        response = emulator.receive(request, at=emulator.clock.now()).start(emulator.clock.now())
        answer = json.loads(b"".join(chunk.data for chunk in response.chunks))
        assert response.status == 200 or answer["type"] == "error"
        statuses.add(response.status)
    assert statuses >= {200, 400}
