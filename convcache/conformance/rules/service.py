"""What lies around a request: workspaces, rate limits, server tools, threads and batches (sections 9 and 10, B13, K1).

Knows the checks T41, T43, T44 and T50, U17, U18 and U23. Must not know how an endpoint keeps callers apart.
"""

from secrets import token_hex
from typing import Final

from convcache.conformance.exchange import Refusal, Reply
from convcache.conformance.outcome import CannotTell, Differs
from convcache.conformance.probe import Probe
from convcache.conformance.rule import rule
from convcache.conformance.words import HOUR, MARK, Json, padding, row, text, user

_TEN_MINUTES: Final = 600
_REMAINING: Final = "anthropic-ratelimit-input-tokens-remaining"
_LIMIT: Final = "anthropic-ratelimit-input-tokens-limit"
_MUCH: Final = 12_000
_SEARCH: Final = {"type": "web_search_20250305", "name": "web_search", "max_uses": 1}
_SEARCHERS: Final = (
    "claude-haiku-4-5",
    "claude-sonnet-4-5",
    "claude-sonnet-4-6",
    "claude-opus-4-8",
    "claude-opus-5",
)
_THREADS: Final = ["message-threads-2026-08-12"]
_ASK: Final = "Search the web for the weather in Oslo today, then answer in one sentence."


@rule(
    "T41",
    proves="A7 A10",
    source="PC-Sep",
    says="Entries are not shared across workspaces where the platform isolates by workspace.",
)
def workspaces_share_nothing(probe: Probe) -> None:
    messages = [user(text(probe.guide(), MARK))]
    first = probe.warm(messages)
    elsewhere = {"anthropic-workspace-id": f"wrkspc_{token_hex(12)}"}
    other = probe.send(messages, headers=elsewhere)
    again = probe.send(messages)
    by_workspace = probe.platform in ("claude", "aws", "foundry")
    probe.expect("read in another workspace", other.read, 0 if by_workspace else first.written)
    probe.expect("read in its own", again.read, first.written)


@rule(
    "T43",
    proves="K1",
    source="RL-Aug",
    says="The input-token rate limit counts what is uncached or written, and not what is read.",
)
def reads_are_free_of_the_rate_limit(probe: Probe) -> None:
    messages = [user(text(f"{probe.guide()} {padding(_MUCH)}", MARK))]
    before = _left(probe.send([user("Hello.")]))
    written = probe.send(messages)
    read = probe.send(messages)
    if before - _left(written) < written.written / 2:
        raise CannotTell("the limit refills too fast to see a write in it")
    probe.expect("read", read.read, written.written)
    probe.expect("a read leaves the limit as it was", _left(written) - _left(read) < read.read / 10, True)


def _left(reply: Reply) -> int:
    if _REMAINING not in reply.headers:
        raise CannotTell("the response tells no rate limit for input tokens")
    return int(reply.headers[_REMAINING])


@rule(
    "T44",
    proves="B13",
    source="TOOLPC-Sep",
    says="A marked request whose server tool runs writes its result for five minutes; an unmarked one does not.",
    models=_SEARCHERS,
)
def a_server_tool_writes_its_result(probe: Probe) -> None:
    marked = _searched(probe, [user(text(probe.guide(), HOUR), _ASK)])
    unmarked = _searched(probe, [user(probe.guide(), _ASK)])
    probe.expect("written for an hour", marked.long > 0, True)
    probe.expect("written for five minutes, unasked", marked.short > 0, True)
    probe.expect("cached without a mark", unmarked.cached, 0)


@rule(
    "U17",
    proves="B13",
    source="open",
    says="The breakpoint a server tool adds takes no slot and is free of the order of TTLs.",
    models=_SEARCHERS,
)
def a_server_tools_mark_takes_no_slot(probe: Probe) -> None:
    full = [text(probe.guide(), HOUR), *(text(f"block {n}", HOUR) for n in range(3))]
    reply = _searched(probe, [user(*full, _ASK)])
    probe.expect("with four hours marked, written for five minutes", reply.short > 0, True)


def _searched(probe: Probe, messages: list[Json]) -> Reply:
    reply = probe.send(messages, tools=[_SEARCH], max_tokens=600)
    if not any(block["type"] == "server_tool_use" for block in reply.content):
        raise CannotTell("the model did not search")
    return reply


@rule(
    "U18",
    proves="I2 I3",
    source="open: the newest page says four, a live text of September three",
    says="A thread request may carry four breakpoints.",
)
def a_thread_may_carry_four_marks(probe: Probe) -> None:
    messages = [user(*(text(f"block {n}", MARK) for n in range(4)))]
    answer = probe.attempt(messages, thread={"type": "create"}, betas=_THREADS)
    if isinstance(answer, Refusal) and "maximum of 3" not in answer.text:
        raise CannotTell(f"refused with {answer.status}: {answer.text}")
    probe.expect("breakpoints in a thread", "three" if isinstance(answer, Refusal) else "four", "four")


@rule(
    "T50",
    proves="I7",
    source="PC-Sep, BATCH-Aug",
    says="After a batch of one, the rest reads what it wrote for an hour, and not what it wrote for five minutes.",
    waits=60,
)
def a_batch_of_one_warms_the_rest(probe: Probe) -> None:
    def asked(guide: str, mark: Json, first: int, last: int) -> list[Json]:
        return [{"messages": [user(text(guide, mark), *row(n, n))]} for n in range(first, last + 1)]

    guide = probe.guide()
    (one,) = probe.batch(*asked(guide, HOUR, 1, 1))
    rest = probe.batch(*asked(guide, HOUR, 2, 3))
    if not all(reply.read for reply in rest) and not probe.endpoint.virtual:
        raise CannotTell("the rest missed; hits in batches are best effort")
    probe.expect("read by the rest", [reply.read for reply in rest], [one.written] * 2)
    guide = probe.guide()
    (one,) = probe.batch(*asked(guide, MARK, 1, 1))
    probe.wait(_TEN_MINUTES)
    probe.expect("written for five minutes", one.short > 0, True)
    late = probe.batch(*asked(guide, MARK, 2, 2))
    probe.expect("read ten minutes later", late[0].read, 0)


@rule(
    "U23",
    proves="I7",
    source="open",
    says="A batch reads what a plain request of the same model and workspace wrote.",
    waits=60,
)
def batches_share_entries(probe: Probe) -> None:
    messages = [user(text(probe.guide(), HOUR))]
    first = probe.warm(messages)
    (batched,) = probe.batch({"messages": messages})
    if not first.written:
        raise Differs("nothing was written")
    if not batched.read and not probe.endpoint.virtual:
        raise CannotTell("missed; hits in batches are best effort")
    shared = "share entries" if batched.read == first.written else "are apart"
    probe.expect("batches and plain requests", shared, "share entries")
