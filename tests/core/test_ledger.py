"""The books: what a bill says of the request it is for, and of the cache."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from convcache import Miss, Policy, Turn, Usage
from convcache.core.catalog import model
from convcache.core.clock import CacheClock
from convcache.core.ledger import Ledger
from convcache.core.planner import Landmarks, Plan
from convcache.core.prompt import Prompt
from convcache.core.usage import Bill

AT = datetime(2026, 11, 22, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def request(*messages: str) -> dict:
    """A request of these user messages under a long system prompt."""
    said = [{"role": "user", "content": [{"type": "text", "text": text}]} for text in messages]
    system = [{"type": "text", "text": "x" * 20_000}]
    return {"model": "claude-opus-5", "max_tokens": 9, "system": system, "messages": said}


class Books:
    """A conversation of one user message and its edits, settled by hand."""

    def __init__(self) -> None:
        self.warm = CacheClock()
        self.ledger = Ledger()

    def plan(self, *messages: str, at: datetime = AT, policy: Policy | None = None) -> Plan:
        return self.ledger.plan(Prompt.of(request(*messages)), self.warm, at=at, policy=policy or Policy())

    def settle(self, plan: Plan, usage: Usage, at: datetime = AT) -> Turn:
        self.ledger, turn, entries = self.ledger.settle(plan, Bill(total=usage), self.warm, at=at)
        self.warm.record(entries)
        return turn


def test_a_bill_makes_the_length_of_the_whole_prefix_exact():
    books = Books()
    books.settle(books.plan("a"), Usage(written_5m=6_789))

    assert books.plan("a").forecast == Usage(read=6_789)


def test_estimates_learn_the_bytes_per_token_of_a_conversation():
    books = Books()
    before = books.plan("a", "b" * 4_000).forecast.prompt
    books.settle(books.plan("a"), Usage(written_5m=10_000))
    after = books.plan("a", "b" * 4_000).forecast

    assert after.read == 10_000
    assert 1_900 < after.written_5m < 2_100
    assert before < 7_000


def test_an_entry_that_was_expected_and_not_read_is_forgotten():
    books = Books()
    books.settle(books.plan("a"), Usage(written_5m=5_000))
    turn = books.settle(books.plan("a", at=AT + MINUTE), Usage(uncached=5_000), at=AT + MINUTE)

    assert turn.miss is Miss.UNKNOWN
    assert turn.lapses is None
    assert books.plan("a", at=AT + MINUTE).forecast.read == 0


def test_a_miss_that_was_written_again_is_warm_again():
    books = Books()
    books.settle(books.plan("a"), Usage(written_5m=5_000))
    later = AT + 10 * MINUTE
    turn = books.settle(books.plan("a", at=later), Usage(written_5m=5_000), at=later)

    assert turn.miss is Miss.EXPIRED
    assert turn.lapses == later + 5 * MINUTE
    assert books.plan("a", at=later + 4 * MINUTE).forecast.read == 5_000


def test_a_read_prolongs_what_it_read():
    books = Books()
    books.settle(books.plan("a"), Usage(written_5m=5_000))
    turn = books.settle(books.plan("a", at=AT + 4 * MINUTE), Usage(read=5_000), at=AT + 4 * MINUTE)

    assert turn.lapses == AT + 9 * MINUTE
    assert books.plan("a", at=AT + 8 * MINUTE).forecast.read == 5_000


def test_what_others_wrote_and_we_only_read_is_believed_for_five_minutes():
    books = Books()
    hour = Policy(ttl="1h")
    turn = books.settle(books.plan("a", policy=hour), Usage(read=5_000))

    assert turn.lapses == AT + 5 * MINUTE


def test_a_prompt_that_was_too_short_leaves_nothing_warm():
    books = Books()
    books.settle(books.plan("a"), Usage(uncached=5_000))

    assert books.plan("a").forecast.read == 0


def test_a_length_that_was_billed_stays_known_after_the_entry_has_lapsed():
    books = Books()
    first = books.plan("a" * 999)
    books.settle(first, Usage(written_5m=7_001))
    later = AT + 10 * MINUTE
    again = books.ledger.plan(
        Prompt.of(request("a" * 999, "b" * 50)),
        books.warm,
        at=later,
        policy=Policy(),
        landmarks=Landmarks(anchor=first.tail),
    )
    books.settle(again, Usage(written_5m=7_020), at=later)

    assert books.plan("a" * 999, at=later).forecast.read == 7_001


def test_an_unplanned_request_is_booked_all_the_same():
    ledger, turn = Ledger().settle_unplanned(
        model("claude-opus-5"), Bill(total=Usage(uncached=1_000_000)), at=AT
    )

    assert turn.forecast is None
    assert ledger.total == Usage(uncached=1_000_000)
    assert ledger.costs.paid == Decimal(5)


def test_costs_add_up_request_by_request():
    books = Books()
    first = books.settle(books.plan("a"), Usage(written_5m=5_000))
    second = books.settle(books.plan("a"), Usage(read=5_000, output=100))

    assert books.ledger.costs == first.costs + second.costs
    assert books.ledger.total == Usage(read=5_000, written_5m=5_000, output=100)


def test_what_the_server_went_on_with_is_paid_and_is_not_the_prompt():
    books = Books()
    iterations = [
        {"input_tokens": 0, "cache_creation_input_tokens": 5_000, "output_tokens": 10},
        {
            "input_tokens": 0,
            "cache_read_input_tokens": 5_000,
            "cache_creation_input_tokens": 300,
            "output_tokens": 20,
        },
    ]
    plan = books.plan("a")
    books.ledger, turn, entries = books.ledger.settle(
        plan, Bill.of({"iterations": iterations}), books.warm, at=AT
    )
    books.warm.record(entries)

    assert turn.actual == Usage(read=5_000, written_5m=5_300, output=30)
    assert books.plan("a").forecast.read == 5_000
