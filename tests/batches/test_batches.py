"""Batches whose requests share a prefix, through the SDK against the emulator on a fast clock."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import attrs
import pytest
from anthropic import (
    Anthropic,
    APIRequest,
    APIResponse,
    AsyncAnthropic,
    BadRequestError,
    CallNext,
    Middleware,
)

from convcache import AsyncBatch, Batch, Policy
from convcache.core.events import BreakpointsRefused, HelperFailed
from convcache.emulator import Emulator, EmulatorServer, Settings, SystemClock
from tests.words import MODEL, marked_paths, text

N = 10
CODE = "The whole code base. " * 13_000
"""Some 50,000 tokens."""
OTHER = "Quite another one. " * 13_000
POLL = timedelta(milliseconds=5)
BATCHES = "/v1/messages/batches"


def params(*blocks: Any, **more: Any) -> dict[str, Any]:
    content = [text(block) if isinstance(block, str) else block for block in blocks]
    return {"model": MODEL, "max_tokens": 20, "messages": [{"role": "user", "content": content}], **more}


def requests(*rows: dict[str, Any]) -> list[Any]:
    return [{"custom_id": f"row-{number}", "params": row} for number, row in enumerate(rows)]


def sharing(count: int = N, **more: Any) -> list[Any]:
    """Requests with one code base and a question each, none of which declares anything."""
    return requests(*(params(CODE, f"question {number}", **more) for number in range(count)))


@attrs.frozen
class Api:
    emulator: Emulator
    client: Anthropic
    events: list[Any]

    def batch(self, asked: list[Any], **options: Any) -> Batch:
        given = {"poll": POLL, "clock": self.emulator.clock.now, "on_event": self.events.append}
        return Batch(self.client, asked, **{**given, **options})

    @property
    def created(self) -> list[list[Any]]:
        """The requests of each batch that was created."""
        return [
            request.body["requests"]
            for request in self.emulator.requests
            if (request.method, request.path) == ("POST", BATCHES)
        ]


@pytest.fixture
def api() -> Iterator[Callable[..., Api]]:
    """Makes an emulator on which a minute passes in 10 ms and all rows of a batch are served side by side."""
    with ExitStack() as stack:

        def made(**settings: Any) -> Api:
            clock = SystemClock(speed=6_000)
            emulator = Emulator(Settings(**{"batch_rows_at_once": N, **settings}), clock=clock)
            server = stack.enter_context(EmulatorServer(emulator))
            client = stack.enter_context(Anthropic(base_url=server.url, api_key="x", max_retries=0))
            return Api(emulator, client, [])

        yield made


def read_all(batch: Batch) -> dict[str, Any]:
    """The outcome of each request, all of which came once."""
    while not batch.has_ended():
        pass
    results = list(batch.results())
    assert Counter(result.custom_id for result in results).most_common(1)[0][1] == 1
    return {result.custom_id: result.result for result in results}


def written(outcomes: dict[str, Any]) -> list[int]:
    return sorted(outcome.message.usage.cache_creation_input_tokens for outcome in outcomes.values())


def test_a_shared_prefix_is_written_once(api):
    here = api()
    batch = here.batch(sharing())
    forecast, expected = batch.forecast, batch.forecast_costs
    sent = batch.send()
    outcomes = read_all(batch)

    assert [len(rows) for rows in here.created] == [1, N - 1]
    assert len(sent) == 2
    assert outcomes.keys() == {f"row-{number}" for number in range(N)}
    *nothing, once = written(outcomes)
    assert (sum(nothing), once > 50_000) == (0, True)
    assert batch.usage.written_1h == once
    assert batch.usage.read == (N - 1) * once
    assert forecast.written_1h == pytest.approx(once, rel=0.2)
    assert forecast.read == pytest.approx((N - 1) * once, rel=0.2)
    assert float(expected.paid) == pytest.approx(float(batch.costs.paid), rel=0.2)
    assert here.events == []


def test_without_the_gate_it_is_written_by_every_request(api):
    here = api()
    batch = here.batch(sharing(), policy=Policy(fan_out="off"))
    forecast = batch.forecast
    batch.send()
    outcomes = read_all(batch)

    assert [len(rows) for rows in here.created] == [N]
    assert min(written(outcomes)) > 50_000
    assert forecast.read == 0


def test_costs_are_those_of_batches(api):
    """Opus 5 in batches, per million: 5.00 for an hour's write, 0.25 read, 2.50 uncached, 12.50 out."""
    batch = api().batch(sharing())
    batch.send()
    read_all(batch)
    usage = batch.usage

    dollars = usage.written_1h * 5 + usage.read * 0.25 + usage.uncached * 2.5 + usage.output * 12.5
    assert float(batch.costs.paid) == pytest.approx(dollars / 1_000_000)
    assert float(batch.costs.uncached) == pytest.approx(
        (usage.prompt * 2.5 + usage.output * 12.5) / 1_000_000
    )


def test_breakpoints_are_the_same_in_every_request(api):
    here = api()
    here.batch(sharing()).send()
    rows = [row["params"] for rows in here.created for row in rows]

    assert [marked_paths(row) for row in rows] == [["messages.0.0"]] * N
    marks = [row["messages"][0]["content"][0]["cache_control"] for row in rows]
    assert marks == [{"type": "ephemeral", "ttl": "1h"}] * N


def test_what_only_some_share_gets_a_breakpoint_too(api):
    here = api()
    alone = [params(f"question {number}", system=[text(CODE)]) for number in range(3)]
    turns = [{"role": "user", "content": OTHER}, {"role": "assistant", "content": [text("Read.")]}]
    after = [{**row, "messages": [*turns, *row["messages"]]} for row in alone]
    batch = here.batch(requests(*alone, *after))
    batch.send()
    outcomes = read_all(batch)

    sent = {row["custom_id"]: row["params"] for rows in here.created for row in rows}
    assert [marked_paths(sent[f"row-{number}"]) for number in range(3)] == [["system.0"]] * 3
    assert [marked_paths(sent[f"row-{number}"]) for number in range(3, 6)] == [
        ["system.0", "messages.1.0"]
    ] * 3
    # One writes what all share, then one writes what half of them share, then the rest reads both.
    assert [len(rows) for rows in here.created] == [1, 1, 4]
    assert sum(count > 40_000 for count in written(outcomes)) == 2


@pytest.mark.parametrize(("ttl", "marks"), [("5m", ["messages.0.0"]), ("1h", [])])
def test_two_requests_alone_do_not_pay_for_an_hour(api, ttl, marks):
    """Written once for 2 and read for 0.1, what two share costs more than twice the input price."""
    here = api()
    here.batch(sharing(2), policy=Policy(ttl=ttl)).send()

    assert {tuple(marked_paths(row["params"])) for rows in here.created for row in rows} == {tuple(marks)}


def test_what_nobody_shares_is_sent_as_it_was_written(api):
    here = api()
    asked = requests(params(CODE), params(OTHER))
    here.batch(asked).send()

    assert here.created == [asked]


def test_the_same_request_many_times_is_written_once(api):
    here = api()
    batch = here.batch(requests(*[params(CODE)] * N))
    batch.send()

    assert [count > 50_000 for count in written(read_all(batch))] == [False] * (N - 1) + [True]


def test_breakpoints_of_the_callers_own_are_kept(api):
    here = api()
    own = {**text("a rule. " * 2_000), "cache_control": {"type": "ephemeral", "ttl": "5m"}}
    asked = requests(*(params(CODE, own, f"question {number}") for number in range(2)))
    here.batch(asked).send()

    row = here.created[0][0]["params"]
    assert marked_paths(row) == ["messages.0.1"]
    assert row["messages"][0]["content"][1]["cache_control"] == {"type": "ephemeral"}
    assert asked[0]["params"]["messages"][0]["content"][1] == own


def test_nobody_waits_to_save_a_cent(api):
    here = api()
    here.batch(sharing(3), policy=Policy(min_wait_saving="1.00")).send()
    here.batch(requests(*(params("A short guide.", str(number)) for number in range(N)))).send()

    assert [len(rows) for rows in here.created] == [3, N]


@pytest.mark.parametrize(("ttl", "read"), [("1h", True), ("5m", False)])
def test_an_hour_outlasts_a_slow_batch_and_five_minutes_do_not(api, ttl, read):
    """T50: the others are served ten minutes after the first."""
    batch = api(batch_delay=timedelta(minutes=10)).batch(sharing(3), policy=Policy(ttl=ttl))
    batch.send()

    assert (read_all(batch)["row-1"].message.usage.cache_read_input_tokens > 50_000) is read


def test_a_request_that_fails_hands_over(api):
    here = api()
    asked = sharing()
    asked[0]["params"]["stream"] = True
    batch = here.batch(asked)
    batch.send()
    outcomes = read_all(batch)

    assert [len(rows) for rows in here.created] == [1, 1, N - 2]
    assert outcomes.pop("row-0").type == "errored"
    assert [count > 50_000 for count in written(outcomes)] == [False] * (N - 2) + [True]


def test_the_wait_is_bounded(api):
    here = api(batch_delay=timedelta(hours=1))
    batch = here.batch(sharing(), max_wait=timedelta(minutes=20))
    began = here.emulator.clock.now()
    batch.send()

    assert [len(rows) for rows in here.created] == [1, N - 1]
    assert timedelta(minutes=20) <= here.emulator.clock.now() - began < timedelta(hours=1)
    assert len(read_all(batch)) == N


class Broken(Middleware):
    """A connection that breaks once, at the first request of a method."""

    def __init__(self, method: str) -> None:
        self.method: str | None = method

    def handle(self, request: APIRequest, call_next: CallNext) -> APIResponse[Any]:
        if request.method.upper() == self.method:
            self.method = None
            raise ConnectionResetError
        return call_next(request)


def test_trouble_while_waiting_sends_the_rest(api):
    here = api()
    batch = attrs.evolve(here, client=here.client.with_middleware(Broken("GET"))).batch(sharing())
    batch.send()

    assert [len(rows) for rows in here.created] == [1, N - 1]
    assert [type(event) for event in here.events] == [HelperFailed]
    assert len(read_all(batch)) == N


def test_a_batch_that_could_not_be_created_can_be_sent_later(api):
    here = api()
    batch = attrs.evolve(here, client=here.client.with_middleware(Broken("POST"))).batch(sharing())
    with pytest.raises(ConnectionResetError):
        batch.send()
    assert not batch.has_ended()
    batch.send()

    assert [len(rows) for rows in here.created] == [1, N - 1]
    assert len(read_all(batch)) == N


def test_trouble_in_planning_sends_the_requests_as_they_were_written(api):
    here = api()
    asked = sharing()

    def count(block: Any) -> int:
        raise RuntimeError("no tokenizer")

    here.batch(asked, count=count).send()

    assert here.created == [asked]
    assert {type(event) for event in here.events} == {HelperFailed}


def test_a_request_whose_breakpoints_are_refused_is_sent_again_without(api, monkeypatch):
    here = api()
    asked = sharing()
    refuse_breakpoints(here, monkeypatch)
    batch = here.batch(asked)
    batch.send()
    outcomes = read_all(batch)

    assert {outcome.type for outcome in outcomes.values()} == {"succeeded"}
    assert here.created[1] == asked
    assert [type(event) for event in here.events] == [BreakpointsRefused]


def refuse_breakpoints(here: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from convcache.emulator import batches
    from convcache.emulator.errors import ApiError

    check = batches._check_params

    def refusing(row: Any) -> None:
        check(row)
        if "cache_control" in str(row):
            raise ApiError("cache_control: Extra inputs are not permitted")

    monkeypatch.setattr(batches, "_check_params", refusing)


def test_ids_that_are_there_twice_are_left_to_the_api(api):
    here = api()
    asked = sharing()
    asked[1]["custom_id"] = asked[0]["custom_id"]
    with pytest.raises(BadRequestError, match="custom_id must be unique"):
        here.batch(asked).send()

    assert len(here.created) == 1


def test_observing_changes_nothing(api):
    here = api()
    asked = sharing(cache_control={"type": "ephemeral"})
    batch = here.batch(asked, policy=Policy.observe())
    batch.send()

    assert here.created == [asked]


def test_a_second_batch_finds_the_prefix_warm_and_does_not_wait(api):
    here = api()
    for _ in range(2):
        batch = here.batch(sharing())
        batch.send()

    assert [len(rows) for rows in here.created] == [1, N - 1, N]
    assert sum(written(read_all(batch))) == 0


def test_an_async_client_sends_a_batch_the_same_way(api):
    here = api()

    async def run() -> tuple[AsyncBatch, list[Any]]:
        url = str(here.client.base_url)
        async with AsyncAnthropic(base_url=url, api_key="x", max_retries=0) as client:
            batch = AsyncBatch(client, sharing(), poll=POLL, clock=here.emulator.clock.now)
            await batch.send()
            while not await batch.has_ended():
                pass
            return batch, [result async for result in batch.results()]

    batch, results = asyncio.run(run())
    assert [len(rows) for rows in here.created] == [1, N - 1]
    assert sorted(result.custom_id for result in results) == [f"row-{number}" for number in range(N)]
    assert 50_000 < batch.usage.written_1h < 100_000
