"""Billed requests of real Claude Code sessions, known by their token counts: does the emulator's cache foresee the reads?

    python -m benchmarks.claude_code PATH

PATH holds one request a line, gzipped JSON. Content is not known, so the cache is driven directly, with prefixes
made of counts. A prediction uses, and nothing else:

- of the request itself: when it was sent, its model, the length of its prompt, the TTL of what it writes, how many
  blocks it adds, and whether it follows a compaction; never what it was billed, nor its reply;
- of earlier requests: all of that, their bills, and the types of the blocks in their replies.

What is assumed about the prompts:

- A thread's prompt is a head (tools, system) and a history that grows: the prefix billed for one request is a prefix
  of the next. Breakpoints stand at the head, at the tail of the last request and at the tail of this one.
- After a compaction, or when a prompt is over 5 % shorter than the last one (old tool results cleared, a new start),
  nothing but the head is left. A prompt a little shorter keeps the part that fits into it.
- Heads are known by what was read of them. What a thread read when its history had changed is its own head. What a
  first request read, or one after an expiry, is the part of the head that threads of one repository, model and TTL
  share, whoever used it last. A thread that has not shown its own head has the last one seen among those.
- A reply that used server tools stands for several requests, and its bill for their sum; its prefix is that sum
  divided by their number.
- A prefix is one per model. A request that writes nothing has the TTL of the thread's last one.

A prediction is right when it is within 2 % of the billed prefix (read + written). Exit code 1: under 97.5 % are.
"""

import argparse
import gzip
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import attrs

from convcache.emulator import Settings
from convcache.emulator.cache import Bill, Breakpoint, Cache
from convcache.emulator.marks import TTLS
from convcache.emulator.prompt import Step

TOLERANCE: Final = 0.02
ENOUGH: Final = 0.975
_CUT_SHORT: Final = 0.95
_PART: Final = 0.9
"""A read of a smaller share than this is not of the whole history."""
_HIT: Final = 0.5
_START_OVER: Final = ("compacted", "cut short")

Group: TypeAlias = tuple[str, str, str]
"""Threads that share a part of their head: repository, model, TTL."""


@attrs.frozen(kw_only=True)
class Logged:
    """One request of the log."""

    repository: str
    thread: tuple[str, str]
    place: int
    model: str
    at: datetime
    ttl: str | None
    prompt: int
    compacted: bool
    blocks: int
    """That it adds."""
    reply_blocks: int
    read: int
    prefix: int
    """Read and written; billed, so only later requests may look."""
    rounds: int
    """Server tools its reply used."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Logged":
        return cls(
            repository=row["repo"],
            thread=(row["session"], row["thread"]),
            place=row["i"],
            model=row["model"],
            at=datetime.fromtimestamp(row["t_req"], UTC),
            ttl="1h" if row["w1"] else "5m" if row["w5"] else None,
            prompt=row["prompt"],
            compacted=row["compact"],
            blocks=len(row["user_blocks"]),
            reply_blocks=len(row["out_blocks"]),
            read=row["cr"],
            prefix=row["cr"] + row["w5"] + row["w1"],
            rounds=sum(kind == "server_tool_use" for kind, _ in row["out_blocks"]),
        )

    @property
    def prefix_of_one(self) -> int:
        """The prefix of one of the requests that the bill sums."""
        return self.prefix // (self.rounds + 1)


@attrs.frozen(kw_only=True)
class Prediction:
    """What a request was foreseen to read, and what it did read."""

    request: Logged
    cause: str
    read: int
    known: int
    """The longest prefix that it could have read by anything recorded."""

    @property
    def right(self) -> bool:
        return abs(self.read - self.request.read) <= TOLERANCE * self.request.prefix

    @property
    def unlogged(self) -> bool:
        """More was read than anything recorded had sent, so somebody else had."""
        return not self.right and self.request.read > self.known * (1 + TOLERANCE)

    @property
    def outcome(self) -> tuple[str, str]:
        """Hit or miss, foreseen and billed: whether half the prompt was read."""
        foreseen, billed = (
            "hit" if read > _HIT * self.request.prompt else "miss" for read in (self.read, self.request.read)
        )
        return foreseen, billed


class Sent(NamedTuple):
    """A prefix that a thread has sent: where its tail stood, and how long it was."""

    name: str
    tokens: int
    position: int

    def step(self, thread: str) -> Step:
        return Step(self.name, f"{thread} {self.name}", self.tokens, self.position)


@attrs.define
class Thread:
    """One conversation as the log shows it so far."""

    history: list[Sent] = attrs.field(factory=list)
    generation: int = 0
    head: int | None = None
    last: Logged | None = None
    ttl: str = "5m"
    longest: int = 0

    def cause(self, request: Logged) -> str:
        """What decides whether this request reads its history."""
        if self.last is None:
            return "first"
        if request.compacted:
            return "compacted"
        if request.prompt < _CUT_SHORT * self.history[-1].tokens:
            return "cut short"
        if request.model != self.last.model:
            return "other model"
        return "warm" if self.is_warm(request.at) else "expired"

    def is_warm(self, at: datetime) -> bool:
        return self.last is not None and at - self.last.at < TTLS[self.ttl]

    def start_over(self) -> None:
        self.history = []
        self.generation += 1

    def sent(self, request: Logged, length: int) -> Sent:
        """What a request adds to the history."""
        before = self.history[-1].position if self.history else 0
        replied = self.last.reply_blocks if self.history and self.last else 0
        name = f"{self.generation}.{len(self.history)}"
        return Sent(name, length, before + replied + request.blocks)

    def add(self, request: Logged, ttl: str) -> None:
        self.history.append(self.sent(request, request.prefix_of_one))
        self.longest = max(self.longest, request.prefix_of_one)
        self.last, self.ttl = request, ttl


class Model:
    """The emulator's cache, and what the log has taught about the prompts in front of it."""

    def __init__(self) -> None:
        self._cache = Cache(Settings())
        self._threads: dict[tuple[str, str], Thread] = {}
        self._shared_heads: dict[Group, int] = {}
        self._whole_heads: dict[Group, int] = {}

    def follow(self, request: Logged) -> Prediction:
        """Foresees a request, then learns what it was billed."""
        thread = self._threads.setdefault(request.thread, Thread())
        cause = thread.cause(request)
        if cause in _START_OVER:
            thread.start_over()
        group = (request.repository, request.model, request.ttl or thread.ttl)
        thread.head = thread.head or self._whole_heads.get(group)
        known = max(thread.longest, thread.head or 0, self._shared_heads.get(group, 0))
        read = self._bill(request, thread, group, request.prompt).read
        self._learn(request, thread, cause, group)
        self._cache.carry_out(self._bill(request, thread, group, request.prefix_of_one))
        thread.add(request, group[2])
        return Prediction(request=request, cause=cause, read=read, known=known)

    def _bill(self, request: Logged, thread: Thread, group: Group, length: int) -> Bill:
        """What the cache makes of a request whose prefix is so long."""
        heads = self._heads(request, thread, group)
        own = f"{request.thread} {request.model}"
        sent = [
            *(sent for sent in thread.history if sent.tokens <= request.prompt),
            thread.sent(request, length),
        ]
        steps = [*heads, *(each.step(own) for each in sent)]
        marked = [*range(len(heads)), *range(max(len(heads), len(steps) - 2), len(steps))]
        marks = [_breakpoint(steps, index, ttl=group[2]) for index in marked]
        return self._cache.bill(steps, marks, tail=0, at=request.at)

    def _heads(self, request: Logged, thread: Thread, group: Group) -> list[Step]:
        """The heads that fit into the prompt, shortest first."""
        known = {
            f"head of {group}": self._shared_heads.get(group),
            f"head of {request.thread} {request.model}": thread.head,
        }
        heads = [
            Step(name, f"{name} {size}", size, 0)
            for name, size in known.items()
            if size and size <= request.prompt
        ]
        return sorted(heads, key=lambda step: step.tokens)

    def _learn(self, request: Logged, thread: Thread, cause: str, group: Group) -> None:
        """A read of a small part of the history was of a head."""
        history = thread.history[-1].tokens if thread.history else request.prefix
        if not 0 < request.read < _PART * min(history, request.prefix):
            return
        if cause in ("first", "expired"):
            self._shared_heads[group] = request.read
        elif thread.is_warm(request.at):
            thread.head = self._whole_heads[group] = request.read


def _breakpoint(steps: Sequence[Step], index: int, *, ttl: str) -> Breakpoint:
    step = steps[index]
    return Breakpoint(index=index, path=step.path, digest=step.digest, tokens=step.tokens, ttl=ttl)


def predictions(requests: Iterable[Logged]) -> list[Prediction]:
    """The requests foreseen in the order in which they were sent."""
    model = Model()
    in_order = sorted(requests, key=lambda request: (request.at, request.thread, request.place))
    return [model.follow(request) for request in in_order]


def share_right(foreseen: Sequence[Prediction]) -> float:
    return sum(one.right for one in foreseen) / max(1, len(foreseen))


def report(foreseen: Sequence[Prediction]) -> Iterator[str]:
    unlogged = [one for one in foreseen if one.unlogged]
    logged = [one for one in foreseen if not one.unlogged]
    right = sum(one.right for one in foreseen)
    yield f"{right} of {len(foreseen)} predictions within 2 % of the billed prefix: {share_right(foreseen):.3%}"
    yield (
        f"{len(unlogged)} read more than anything recorded had sent (unlogged requests, several requests in one "
        f"bill); {share_right(logged):.3%} of the others"
    )
    yield ""
    yield from _confusion(foreseen)
    yield ""
    yield "read above anything recorded: session, place, foreseen, longest known, billed, cause"
    for one in unlogged:
        session, place = one.request.thread[0], one.request.place
        yield f"  {session} {place:>4} {one.read:>8} {one.known:>8} {one.request.read:>8}  {one.cause}"


def _confusion(foreseen: Sequence[Prediction]) -> Iterator[str]:
    """By cause: foreseen against billed, a hit being a read of over half the prompt."""
    pairs = [("hit", "hit"), ("hit", "miss"), ("miss", "hit"), ("miss", "miss")]
    titles = [f"{first}>{second}" for first, second in pairs]
    yield (
        f"{'foreseen > billed':<18}{'requests':>9}"
        + "".join(f"{title:>11}" for title in titles)
        + f"{'within 2 %':>12}"
    )
    by_cause = Counter(one.cause for one in foreseen)
    for cause, number in by_cause.most_common():
        of_cause = [one for one in foreseen if one.cause == cause]
        outcomes = Counter(one.outcome for one in of_cause)
        counts = "".join(f"{outcomes[pair]:>11}" for pair in pairs)
        yield f"{cause:<18}{number:>9}{counts}{share_right(of_cause):>12.2%}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.claude_code", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("path", type=Path, help="the logged requests, .jsonl.gz")
    path: Path = parser.parse_args(arguments).path
    started = time.perf_counter()
    with gzip.open(path, "rt") as lines:
        foreseen = predictions([Logged.of(json.loads(line)) for line in lines])
    for line in report(foreseen):
        print(line)
    print(f"\n{time.perf_counter() - started:.1f} seconds")
    return int(share_right(foreseen) < ENOUGH)


if __name__ == "__main__":
    sys.exit(main())
