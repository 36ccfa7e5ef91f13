"""What keeps a request from the cache besides its content: rate limits, eviction, bad luck, and grace."""

from datetime import UTC, datetime, timedelta

import anthropic
import pytest

MARK = {"type": "ephemeral"}


def words(number):
    return " ".join(["word"] * number)


def marked(number):
    return [{"role": "user", "content": [{"type": "text", "text": words(number), "cache_control": MARK}]}]


def refused(api, messages, **more):
    with pytest.raises(anthropic.RateLimitError) as caught:
        api.send(messages, **more)
    return caught.value.response.headers


def headers(api, messages, **more):
    raw = api.client.messages.with_raw_response.create(
        model="claude-opus-4-8", max_tokens=9, messages=messages, **more
    )
    return raw.headers


def test_reads_do_not_count_towards_the_input_limit(emulated):
    """K1, T43: written once, ninety tokens are read as often as one likes."""
    api = emulated(input_tokens_per_minute=100)
    for expected in (10, 10, 10):
        remaining = headers(api, marked(90))["anthropic-ratelimit-input-tokens-remaining"]
        assert remaining == str(expected)


@pytest.mark.parametrize("messages", [marked(60), [{"role": "user", "content": words(60)}]])
def test_written_and_uncached_tokens_count(emulated, messages):
    """T43: two requests of sixty are more than a hundred, unless the second reads the first."""
    api = emulated(input_tokens_per_minute=100)
    api.send(messages)
    other = [{"role": "user", "content": "other " + words(59)}]
    found = refused(api, other)
    assert found["retry-after"] == "12"
    assert found["anthropic-ratelimit-input-tokens-limit"] == "100"
    assert found["anthropic-ratelimit-input-tokens-remaining"] == "40"
    assert found["anthropic-ratelimit-input-tokens-reset"] == "2026-01-01T00:00:36Z"


def test_the_limit_refills_all_the_time_and_retry_after_is_long_enough(emulated):
    api = emulated(input_tokens_per_minute=100)
    api.send(words(90))
    wait = int(refused(api, words(31))["retry-after"])
    api.pass_time(seconds=wait - 1)
    refused(api, words(31))
    api.pass_time(seconds=1)
    api.send(words(31))
    assert wait == 13


def test_a_refused_request_costs_nothing_and_writes_nothing(emulated):
    api = emulated(input_tokens_per_minute=100)
    assert refused(api, marked(101))["anthropic-ratelimit-input-tokens-remaining"] == "100"
    assert api.emulator.entries == []
    api.send(words(100))


def test_each_family_of_models_has_a_limit_of_its_own(emulated):
    api = emulated(input_tokens_per_minute=100)
    api.send(words(100))
    refused(api, words(1), model="claude-opus-5")
    api.send(words(100), model="claude-haiku-4-5")
    api.emulator.reset()
    api.send(words(100), model="claude-opus-5")


def test_reads_of_haiku_3_5_count(emulated):
    """K1's exception."""
    api = emulated(input_tokens_per_minute=100)
    api.send(marked(60), model="claude-haiku-3-5")
    refused(api, marked(60), model="claude-haiku-3-5")


def test_without_a_limit_no_header_speaks_of_one(api):
    assert not [name for name in headers(api, marked(3)) if "ratelimit" in name]


def test_the_sdk_waits_as_long_as_it_is_told(emulated, http):
    from convcache.emulator import SystemClock

    clock = SystemClock(speed=50, start=datetime(2026, 1, 1, tzinfo=UTC))
    api = emulated(input_tokens_per_minute=100, clock=clock)
    patient = anthropic.Anthropic(api_key="key", base_url=api.url, http_client=http, max_retries=2)
    for number in (52, 49):
        patient.messages.create(
            model="claude-opus-4-8",
            max_tokens=9,
            messages=[{"role": "user", "content": words(number)}],
        )
    assert [record.status for record in api.emulator.requests] == [200, 429, 200]


def test_an_entry_is_lost_before_its_time_or_all_are(api):
    api.send(marked(3))
    api.send(marked(5))
    digest = api.emulator.requests[0].breakpoints[0].digest
    assert api.control("evict", {"digest": digest}).json() == {"evicted": 1}
    assert api.billed(marked(3)) == (0, 3, 0)
    assert api.billed(marked(5)) == (5, 0, 0)
    assert api.control("evict", {}).json() == {"evicted": 2}
    assert api.billed(marked(5)) == (0, 5, 0)
    assert api.emulator.evict("nothing") == 0
    for wrong in ({"digest": 1}, {"digests": []}):
        assert api.control("evict", wrong).status_code == 400


def test_some_requests_find_nothing_the_same_ones_for_the_same_seed(emulated):
    """K2: hits are best effort."""

    def reads(seed):
        api = emulated(best_effort_miss_rate=0.3, seed=seed)
        return [api.billed(marked(4))[0] for _ in range(40)]

    assert reads(1) == reads(1)
    assert reads(1) != reads(2)
    assert set(reads(1)) == {0, 4}
    assert 5 < reads(1).count(0) < 22


def test_luck_begins_anew_with_a_reset(emulated):
    api = emulated(best_effort_miss_rate=0.5)

    def reads():
        return [api.billed(marked(4))[0] for _ in range(12)]

    first = reads()
    api.emulator.reset()
    assert reads() == first


def test_an_entry_may_outlive_its_ttl_by_a_grace(emulated):
    """A10: five minutes are a minimum."""
    api = emulated(grace_after_expiry=timedelta(seconds=30))
    api.send(marked(4))
    api.pass_time(seconds=329)
    assert api.billed(marked(4)) == (4, 0, 0)
    api.pass_time(seconds=330)
    assert api.billed(marked(4)) == (0, 4, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"best_effort_miss_rate": 1.1},
        {"batch_hit_rate": -0.1},
        {"input_tokens_per_minute": 0},
        {"grace_after_expiry": timedelta(seconds=-1)},
        {"thread_marks": 5},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    from convcache.emulator import Settings

    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(**wrong)
