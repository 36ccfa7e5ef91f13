"""Batches over HTTP with the SDK: their life, their rows, and the cache they share."""

import asyncio
from datetime import timedelta

import anthropic
import pytest

MODEL = "claude-opus-4-8"


def marked(text, ttl="5m"):
    return {"type": "text", "text": text, "cache_control": {"type": "ephemeral", "ttl": ttl}}


def params(text="hello", **more):
    return {"model": MODEL, "max_tokens": 20, "messages": [{"role": "user", "content": text}], **more}


def requests(*rows):
    return [{"custom_id": f"row-{number}", "params": row} for number, row in enumerate(rows)]


@pytest.fixture
def batches(api):
    return api.client.messages.batches


def results(api, batch):
    return [row.result for row in api.client.messages.batches.results(batch.id)]


def test_a_batch_is_in_progress_until_its_time_has_come(api, batches):
    batch = batches.create(requests=requests(params("one"), params("two")))
    assert (batch.processing_status, batch.request_counts.processing) == ("in_progress", 2)
    assert batch.expires_at - batch.created_at == timedelta(hours=24)
    api.pass_time(seconds=59)
    assert batches.retrieve(batch.id).results_url is None
    with pytest.raises(anthropic.AnthropicError, match="results_url"):
        batches.results(batch.id)
    api.pass_time(seconds=1)
    ended = batches.retrieve(batch.id)
    assert (ended.processing_status, ended.request_counts.succeeded) == ("ended", 2)
    assert ended.ended_at - ended.created_at == timedelta(minutes=1)
    assert [row.custom_id for row in batches.results(batch.id)] == ["row-0", "row-1"]


def test_a_row_is_a_message_of_the_batch_tier(api, batches):
    batch = batches.create(requests=requests(params("say something")))
    api.pass_time(minutes=1)
    (result,) = results(api, batch)
    assert (result.type, result.message.role, result.message.model) == ("succeeded", "assistant", MODEL)
    assert result.message.usage.service_tier == "batch"
    assert result.message.usage.output_tokens > 0


@pytest.mark.parametrize(("ttl", "read"), [("1h", [3, 3, 3]), ("5m", [0, 3, 3])])
def test_a_batch_of_one_warms_the_rest_if_it_warms_it_for_long_enough(emulated, ttl, read):
    """T50: ten minutes later an hour still stands and five minutes do not."""
    api = emulated(batch_delay=timedelta(minutes=1))
    system = [marked("a shared prefix", ttl)]
    first = api.client.messages.batches.create(requests=requests(params("one", system=system)))
    api.pass_time(minutes=1)
    assert results(api, first)[0].message.usage.cache_creation_input_tokens == 3
    api.pass_time(minutes=10)
    rest = api.client.messages.batches.create(
        requests=requests(*[params(text, system=system) for text in ("two", "three", "four")])
    )
    api.pass_time(minutes=1)
    assert [result.message.usage.cache_read_input_tokens for result in results(api, rest)] == read


def test_batches_and_single_requests_share_a_cache(api, batches):
    """U23, also where nobody looked at the batch in between."""
    system = [marked("a shared prefix")]
    batches.create(requests=requests(params("one", system=system)))
    api.pass_time(minutes=2)
    assert api.billed("two", system=system)[0] == 3
    api.pass_time(minutes=4)
    later = batches.create(requests=requests(params("three", system=system)))
    api.pass_time(seconds=60)
    assert results(api, later)[0].message.usage.cache_read_input_tokens == 0


def test_rows_are_served_evenly_over_the_time_of_a_batch(emulated):
    """A row at minute three and one at minute six: the second finds what the first wrote, or a TTL later nothing."""
    system = [marked("a shared prefix")]
    for minutes, read in ((6, [0, 3]), (14, [0, 0])):
        api = emulated(batch_delay=timedelta(minutes=minutes))
        batch = api.client.messages.batches.create(requests=requests(*[params(system=system)] * 2))
        api.pass_time(minutes=minutes)
        assert [row.message.usage.cache_read_input_tokens for row in results(api, batch)] == read


@pytest.mark.parametrize(("together", "read"), [(1, [0, 3, 3, 3, 3]), (2, [0, 0, 3, 3, 3]), (9, [0] * 5)])
def test_rows_that_are_served_side_by_side_do_not_read_each_other(emulated, together, read):
    api = emulated(batch_rows_at_once=together)
    rows = [params(system=[marked("a shared prefix")])] * 5
    batch = api.client.messages.batches.create(requests=requests(*rows))
    api.pass_time(minutes=1)
    assert [row.message.usage.cache_read_input_tokens for row in results(api, batch)] == read


def test_hits_in_a_batch_are_best_effort_the_same_way_for_the_same_seed(emulated):
    def hits(seed):
        api = emulated(batch_hit_rate=0.6, seed=seed, batch_delay=timedelta(0))
        rows = [params(system=[marked("a shared prefix")])] * 40
        batch = api.client.messages.batches.create(requests=requests(*rows))
        return [bool(result.message.usage.cache_read_input_tokens) for result in results(api, batch)]

    assert hits(1) == hits(1)
    assert hits(1) != hits(2)
    assert 15 < sum(hits(1)) < 32


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (params(max_tokens=0), "max_tokens"),
        (params(betas=["context-1m-2025-08-07"]), "betas: Extra inputs are not permitted"),
        (params(stream=True), "stream"),
        (params(thread={"type": "create"}), "thread"),
        (params(speed="fast"), "speed"),
        (params(messages=[]), "messages"),
        (params(system=[marked("x")] * 5), "Found 5."),
    ],
)
def test_a_row_that_is_refused_is_an_errored_row_and_the_others_go_on(api, batches, row, text):
    """H2, SEED-0: what is wrong with a request shows in its result."""
    batch = batches.create(requests=requests(params(), row))
    api.pass_time(minutes=1)
    fine, errored = results(api, batch)
    assert (fine.type, errored.type) == ("succeeded", "errored")
    assert errored.error.error.type == "invalid_request_error"
    assert text in errored.error.error.message
    assert batches.retrieve(batch.id).request_counts.errored == 1


def test_betas_of_a_batch_hold_for_its_rows(api):
    """SEED-0: they go beside the requests, not into them."""
    beta = api.client.beta.messages.batches
    batch = beta.create(requests=requests(params()), betas=["context-1m-2025-08-07"])
    api.pass_time(minutes=1)
    assert [row.result.type for row in beta.results(batch.id)] == ["succeeded"]
    assert [each.id for each in beta.list()] == [batch.id]


def test_a_cancelled_batch_keeps_what_was_served(api, batches):
    batch = batches.create(requests=requests(*[params()] * 4))
    api.pass_time(seconds=30)
    cancelled = batches.cancel(batch.id)
    assert (cancelled.processing_status, cancelled.cancel_initiated_at is not None) == ("canceling", True)
    assert [result.type for result in results(api, batch)] == ["succeeded"] * 2 + ["canceled"] * 2
    assert batches.retrieve(batch.id).request_counts.canceled == 2
    with pytest.raises(anthropic.BadRequestError):
        batches.cancel(batch.id)


def test_what_is_not_served_within_a_day_expires(emulated):
    api = emulated(batch_delay=timedelta(hours=36))
    batch = api.client.messages.batches.create(requests=requests(*[params()] * 3))
    api.pass_time(hours=23)
    assert api.client.messages.batches.retrieve(batch.id).request_counts.processing == 3
    api.pass_time(hours=1)
    ended = api.client.messages.batches.retrieve(batch.id)
    assert ended.ended_at - ended.created_at == timedelta(hours=24)
    assert [result.type for result in results(api, batch)] == ["succeeded", "expired", "expired"]


def test_batches_are_listed_newest_first_in_pages(api, batches):
    made = [batches.create(requests=requests(params())).id for _ in range(5)]
    newest_first = made[::-1]
    page = batches.list(limit=2)
    assert ([batch.id for batch in page.data], page.has_more) == (newest_first[:2], True)
    assert [batch.id for batch in batches.list(limit=2)] == newest_first
    before = batches.list(limit=2, before_id=made[0])
    assert [batch.id for batch in before.data] == newest_first[2:4]
    with pytest.raises(anthropic.BadRequestError):
        batches.list(limit=0)
    with pytest.raises(anthropic.NotFoundError):
        batches.list(after_id="msgbatch_never_was")


def test_a_batch_is_deleted_once_it_has_ended(api, batches):
    batch = batches.create(requests=requests(params()))
    with pytest.raises(anthropic.BadRequestError, match="cancel it first"):
        batches.delete(batch.id)
    api.pass_time(minutes=1)
    assert batches.delete(batch.id).id == batch.id
    with pytest.raises(anthropic.NotFoundError):
        batches.retrieve(batch.id)


def test_a_batch_is_of_its_workspace(api, batches):
    batch = batches.create(requests=requests(params()), workspace_id="wrkspc_one")
    with pytest.raises(anthropic.NotFoundError):
        batches.retrieve(batch.id)
    assert batches.retrieve(batch.id, workspace_id="wrkspc_one").id == batch.id
    assert list(batches.list()) == []


def test_an_async_client_waits_for_a_batch_as_well(api):
    async def run():
        async with anthropic.AsyncAnthropic(api_key="key", base_url=api.url) as client:
            batch = await client.messages.batches.create(requests=requests(params("one"), params("two")))
            api.pass_time(minutes=1)
            return [row.result.type async for row in await client.messages.batches.results(batch.id)]

    assert asyncio.run(run()) == ["succeeded", "succeeded"]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        [],
        {"requests": []},
        {"requests": ["x"]},
        {"requests": [{"custom_id": "a"}]},
        {"requests": [{"params": {}}]},
        {"requests": [{"custom_id": "a b", "params": {}}]},
        {"requests": [{"custom_id": "a", "params": []}]},
        {"requests": [{"custom_id": "a", "params": {}}] * 2},
        {"requests": [{"custom_id": "a", "params": {}, "betas": []}]},
    ],
)
def test_a_batch_that_is_none_is_refused(api, wrong):
    response = api.http.post(f"{api.url}/v1/messages/batches", json=wrong, headers={"x-api-key": "k"})
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")


def test_what_is_no_endpoint_is_not_found(api):
    for method, path in (("GET", "msgbatch_x"), ("PUT", ""), ("POST", "msgbatch_x/repeat")):
        response = api.http.request(
            method, f"{api.url}/v1/messages/batches/{path}", headers={"x-api-key": "k"}
        )
        assert response.status_code == 404


def test_a_reset_forgets_batches(api, batches):
    batch = batches.create(requests=requests(params()))
    api.emulator.reset()
    with pytest.raises(anthropic.NotFoundError):
        batches.retrieve(batch.id)
