"""Any sequence of requests: sent, extended, edited, forked, marked anew, overlapping, from several workspaces.

Two accounts are kept beside the emulator, and neither hashes anything: `History` tells the rules again from the texts
themselves, `Receipts` knows nothing but what was billed.
"""

from datetime import timedelta

import attrs
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    multiple,
    rule,
    run_state_machine_as_test,
)

from convcache.emulator import Emulator, Settings, VirtualClock
from convcache.emulator.wire import Request, compact

TTLS = {"5m": timedelta(minutes=5), "1h": timedelta(hours=1)}
REACH = 20

texts = st.lists(st.sampled_from("abc"), min_size=1, max_size=4)
long_texts = st.lists(st.sampled_from("ab"), min_size=15, max_size=24)
marks = st.dictionaries(st.integers(1, 30), st.sampled_from(["5m", "1h"]), max_size=4)
places = st.sampled_from(["wrkspc_one", "wrkspc_one", "wrkspc_two"])
pauses = st.sampled_from([0, 1, 100, 200, 299, 300, 301, 1500, 3299, 3300, 3599, 3600, 3601])


@attrs.frozen(eq=False)
class Ask:
    """A prompt of one user turn, every block one token."""

    place: str
    texts: tuple
    marks: dict
    """The TTL asked for at each marked length."""
    at: object = None

    def begins_with(self, other, length):
        return self.place == other.place and self.texts[:length] == other.texts[:length]


@attrs.frozen(eq=False)
class Done:
    """An ask whose response has started, with what it was billed."""

    ask: Ask
    read: int
    hour: int
    minutes: int
    hit_ttl: object

    @property
    def at(self):
        return self.ask.at

    @property
    def written_to(self):
        return self.read + self.hour + self.minutes


@attrs.define
class History:
    """What is alive, worked out anew from every response that ever started."""

    minimum: int
    matched_only: bool
    done: list = attrs.field(factory=list)

    def read(self, ask):
        """The length that a request can read, and the TTL it was written with."""
        for mark in sorted(self.counted(ask), reverse=True):
            for length in range(mark, max(mark - REACH, 0), -1):
                life = self.life(ask, length)
                if life and ask.at < life[1]:
                    return length, life[0]
        return 0, None

    def expected(self, ask, read):
        marked = self.counted(ask)
        hour = max((length for length, ttl in marked.items() if ttl == "1h" and length > read), default=read)
        return hour - read, max([*marked, read]) - hour

    def counted(self, ask):
        return {length: ttl for length, ttl in ask.marks.items() if length >= self.minimum}

    def life(self, ask, length):
        """The TTL and the end of the entry for one prefix; what it is until then is told by each request in turn."""
        held = None
        for done in self.done:
            if length > len(done.ask.texts) or not done.ask.begins_with(ask, length):
                continue
            known = held if held and done.at < held[1] else None
            ttl = self._given(done, length, known)
            if ttl:
                end = done.at + ttl
                held = (max(ttl, known[0]), max(end, known[1])) if known else (ttl, end)
        return held

    def _given(self, done, length, known):
        asked = self.counted(done.ask).get(length)
        if length == done.read:
            return done.hit_ttl
        if asked is None or length > done.read:
            return TTLS[asked] if asked else None
        if known:
            return None if self.matched_only else known[0]
        return min(TTLS[asked], done.hit_ttl)


@attrs.define
class Receipts:
    """What was paid for, block by block: the only thing known of a request is its bill."""

    done: list = attrs.field(factory=list)

    def cover(self, ask, length):
        """Whether time that was billed reaches to now: for this prefix, or for a longer one it was read with."""
        return any(ask.at < done.at + ttl for done, ttl in self._uses(ask, length))

    def _uses(self, ask, length):
        paid = timedelta(0)
        for index, done in enumerate(self.done):
            if length > len(done.ask.texts) or not done.ask.begins_with(ask, length):
                continue
            if length <= done.read:
                with_it = Receipts(self.done[:index]).paid(done.ask, done.read)
                yield done, max(paid, with_it)
                paid = max(paid, with_it if length in done.ask.marks else paid)
            elif length <= done.written_to:
                paid = max(paid, bought(done, length))
                yield done, bought(done, length)

    def paid(self, ask, length):
        """The longest time that a prefix was ever paid for, or brought back by one that was."""
        paid = timedelta(0)
        for index, done in enumerate(self.done):
            if length > len(done.ask.texts) or not done.ask.begins_with(ask, length):
                continue
            if done.read < length <= done.written_to:
                paid = max(paid, bought(done, length))
            elif length < done.read and length in done.ask.marks:
                paid = max(paid, Receipts(self.done[:index]).paid(done.ask, done.read))
        return paid


def bought(done, length):
    return TTLS["1h"] if length <= done.read + done.hour else TTLS["5m"]


def legal(marks, length):
    """The marks that the API takes: on blocks there are, an hour never after five minutes."""
    placed = {(place - 1) % length + 1: ttl for place, ttl in marks.items()}
    kept, short = {}, False
    for place in sorted(placed):
        kept[place] = "5m" if short else placed[place]
        short = short or kept[place] == "5m"
    return kept


def request_for(ask):
    blocks = []
    for length, text in enumerate(ask.texts, 1):
        ttl = ask.marks.get(length)
        mark = {"cache_control": {"type": "ephemeral", "ttl": ttl}} if ttl else {}
        blocks.append({"type": "text", "text": text, **mark})
    body = {"model": "claude-opus-4-8", "max_tokens": 0, "messages": [{"role": "user", "content": blocks}]}
    headers = {"x-api-key": "k", "anthropic-workspace-id": ask.place}
    return Request(method="POST", path="/v1/messages", headers=headers, body=compact(body).encode())


def cost(usage, read_price):
    return usage.read * read_price + usage.written_5m * 1.25 + usage.written_1h * 2 + usage.uncached


class Requests(RuleBasedStateMachine):
    """Every rule makes a prompt or lets time pass; every response is checked when it starts."""

    prompts = Bundle("prompts")
    under_way = Bundle("under_way")

    @initialize(
        minimum=st.sampled_from([0, 0, 3]),
        residual=st.sampled_from([0, 2]),
        refresh=st.sampled_from(["breakpoints", "matched_only"]),
    )
    def begin(self, minimum, residual, refresh):
        self.settings = Settings(minimum=minimum, residual_tail_tokens=residual, refresh=refresh)
        self.emulator = self.fresh()
        self.history = History(minimum, refresh == "matched_only")
        self.receipts = Receipts()

    def fresh(self):
        return Emulator(self.settings, clock=VirtualClock(), count_tokens=lambda block: 1)

    @rule(target=prompts, texts=st.one_of(texts, long_texts), marks=marks, place=places)
    def send(self, texts, marks, place):
        return self.asked(place, tuple(texts), marks)

    @rule(target=prompts, prompt=prompts, more=st.one_of(texts, texts, long_texts), marks=marks)
    def extend(self, prompt, more, marks):
        """The marks stand as far from the new end as they are drawn."""
        whole = (*prompt.texts, *more)
        return self.asked(prompt.place, whole, {len(whole) + 1 - place: ttl for place, ttl in marks.items()})

    @rule(target=prompts, prompt=prompts, at=st.integers(0, 59), text=st.sampled_from("abcd"), marks=marks)
    def edit(self, prompt, at, text, marks):
        at %= len(prompt.texts)
        return self.asked(prompt.place, (*prompt.texts[:at], text, *prompt.texts[at + 1 :]), marks)

    @rule(target=prompts, prompt=prompts, length=st.integers(1, 60), more=texts, marks=marks)
    def fork(self, prompt, length, more, marks):
        return self.asked(prompt.place, (*prompt.texts[:length], *more), marks)

    @rule(prompt=prompts, marks=marks)
    def move_breakpoints(self, prompt, marks):
        self.asked(prompt.place, prompt.texts, marks)

    @rule(
        target=prompts,
        prompt=prompts,
        blocks=st.sampled_from([18, 19, 20]),
        ttl=st.sampled_from(["5m", "1h"]),
    )
    def outrun(self, prompt, blocks, ttl):
        """Just within the reach of a breakpoint, or just beyond."""
        whole = (*prompt.texts, *"d" * blocks)
        return self.asked(prompt.place, whole, {len(whole): ttl})

    @rule(prompt=prompts, marks=marks, other=marks, pause=pauses, late=st.booleans())
    def overlap(self, prompt, marks, other, pause, late):
        """Two requests for the same prompt, the second before the first has started, and either first to start."""
        first = self.waiting(self.ask(prompt.place, prompt.texts, marks))
        self.sleep(pause)
        second = self.waiting(self.ask(prompt.place, prompt.texts, other))
        for waiting in (second, first) if late else (first, second):
            self.started(*waiting)

    @rule(prompt=prompts, length=st.integers(1, 60), ttl=st.sampled_from(["5m", "1h"]), pause=pauses)
    def come_back(self, prompt, length, ttl, pause):
        """To the head of a prompt alone, and to all of it with and without a breakpoint on the head."""
        length = (length - 1) % len(prompt.texts) + 1
        for marks in ({length: ttl}, {len(prompt.texts): ttl}, {length: ttl, len(prompt.texts): ttl}):
            self.asked(prompt.place, prompt.texts, marks)
            self.sleep(pause)

    @rule(prompt=prompts)
    def send_again(self, prompt):
        self.asked(prompt.place, prompt.texts, prompt.marks)

    @rule(prompt=prompts, place=places)
    def send_from_another_workspace(self, prompt, place):
        self.asked(place, prompt.texts, prompt.marks)

    @rule(seconds=pauses)
    def sleep(self, seconds):
        self.emulator.clock.advance(timedelta(seconds=seconds))

    @rule(target=under_way, prompt=prompts, marks=marks)
    def leave_waiting(self, prompt, marks):
        return multiple(self.waiting(self.ask(prompt.place, prompt.texts, marks)))

    @rule(waiting=consumes(under_way))
    def start_what_waited(self, waiting):
        self.started(*waiting)

    def ask(self, place, texts, marks):
        return Ask(place, texts, legal(marks, len(texts)), self.emulator.clock.now())

    def asked(self, place, texts, marks):
        ask = self.ask(place, texts, marks)
        self.started(*self.waiting(ask))
        return ask

    def waiting(self, ask):
        """What is there to be read is decided when a request arrives."""
        read, ttl = self.history.read(ask)
        assert not read or self.receipts.cover(ask, read), (
            "tokens are alive on time that nobody was billed for"
        )
        return ask, read, ttl, self.emulator.receive(request_for(ask), at=ask.at)

    def started(self, ask, read, ttl, pending):
        assert pending.start(self.emulator.clock.now()).status == 200
        usage = next(record.usage for record in self.emulator.requests if self.is_last(record))
        self.check(ask, usage, read)
        done = Done(ask, usage.read, usage.written_1h, usage.written_5m, ttl)
        self.history.done.append(done)
        self.receipts.done.append(done)

    def is_last(self, record):
        """Whether this is the request that has just started; each one is looked at once."""
        known = self.__dict__.setdefault("seen", set())
        if record.status == 0 or record.id in known:
            return False
        known.add(record.id)
        return True

    def check(self, ask, usage, read):
        assert usage.prompt == len(ask.texts) + self.settings.residual_tail_tokens
        assert (usage.read, usage.written_1h, usage.written_5m) == (read, *self.history.expected(ask, read))
        cold = self.fresh()
        cold.receive(request_for(ask), at=cold.clock.now()).start(cold.clock.now())
        for price in (0.1, 0.05, 0.025):
            assert cost(usage, price) <= cost(cold.requests[0].usage, price)


def run(examples, steps):
    unhurried = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Requests, settings=unhurried)


def test_no_sequence_of_requests_reads_what_is_not_there_or_lives_on_time_not_billed():
    """T29 and U28: identical, written, visible, alive; never dearer than cold; each read backed by a receipt."""
    run(examples=60, steps=20)


@pytest.mark.long
def test_no_long_sequence_of_requests_does_either():
    run(examples=3000, steps=50)
