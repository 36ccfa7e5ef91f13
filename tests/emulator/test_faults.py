"""Trouble on demand, as the SDK sees it: over a socket, and through both transports."""

import asyncio
import threading
import time
from datetime import timedelta

import anthropic
import httpx2
import pytest

from convcache.emulator import AsyncEmulatorTransport, EmulatorTransport, Fault, SystemClock

MARK = {"type": "ephemeral"}
TALK = [{"role": "user", "content": [{"type": "text", "text": "one two", "cache_control": MARK}]}]
REQUEST = {"model": "claude-opus-4-8", "max_tokens": 50, "messages": TALK}


class Wire:
    """One way to reach an emulator: `socket`, `transport`, `async socket` or `async transport`."""

    def __init__(self, api, way):
        self.emulator = api.emulator
        self._api, self._way = api, way

    def create(self, *, retries=0, **options):
        return self._with_client(retries, options, lambda client: client.messages.create(**REQUEST))

    def read_stream(self, events=10_000, **options):
        """The types of the events that arrived before it broke or `events` were read."""
        seen = []

        def sync(client):
            with client.messages.create(**REQUEST, stream=True) as stream:
                self._gather(stream, seen, events)

        async def asynchronous(client):
            async with await client.messages.create(**REQUEST, stream=True) as stream:
                async for event in stream:
                    seen.append(event.type)
                    if len(seen) == events:
                        break

        try:
            self._with_client(0, options, asynchronous if "async" in self._way else sync)
        except (httpx2.HTTPError, anthropic.APIError) as error:
            seen.append(error)
        return seen

    @staticmethod
    def _gather(stream, seen, events):
        for event in stream:
            seen.append(event.type)
            if len(seen) == events:
                break

    def _with_client(self, retries, options, act):
        common = {"api_key": "key", "base_url": self._api.url, "max_retries": retries, **options}
        if "async" in self._way:
            return asyncio.run(self._with_async_client(common, act))
        transport = {"transport": EmulatorTransport(self.emulator)} if self._way == "transport" else {}
        with httpx2.Client(verify=False, **transport) as http:
            return act(anthropic.Anthropic(http_client=http, **common))

    async def _with_async_client(self, common, act):
        transport = {"transport": AsyncEmulatorTransport(self.emulator)} if "transport" in self._way else {}
        async with httpx2.AsyncClient(verify=False, **transport) as http:
            return await act(anthropic.AsyncAnthropic(http_client=http, **common))


@pytest.fixture(params=["socket", "transport", "async socket", "async transport"])
def wire(api, request):
    return Wire(api, request.param)


def test_without_faults_every_way_gives_the_same(wire):
    assert wire.create().usage.cache_creation_input_tokens == 2
    assert wire.create().usage.cache_read_input_tokens == 2
    assert wire.read_stream()[-1] == "message_stop"
    assert [record.status for record in wire.emulator.requests] == [200] * 3


@pytest.mark.parametrize(
    ("status", "error", "type_"),
    [
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (529, anthropic.InternalServerError, "overloaded_error"),
    ],
)
def test_an_error_is_the_apis_and_leaves_nothing_behind(wire, status, error, type_):
    wire.emulator.fail(Fault(status=status, retry_after=0))
    with pytest.raises(error) as caught:
        wire.create()
    assert caught.value.status_code == status
    assert caught.value.body["error"]["type"] == type_
    assert caught.value.response.headers["retry-after"] == "0"
    assert wire.emulator.entries == []


def test_the_sdk_gets_through_after_errors_and_a_broken_connection(wire):
    soon = {"retry_after": 0.01}
    wire.emulator.fail(Fault(cut_after=0), Fault(status=529, **soon), Fault(status=429, **soon))
    assert wire.create(retries=3).usage.cache_creation_input_tokens == 2
    assert [record.status for record in wire.emulator.requests] == [0, 529, 429, 200]


def test_a_connection_cut_before_the_response_leaves_nothing_written(wire):
    """U13."""
    wire.emulator.script({"content": "not used up"})
    wire.emulator.fail(Fault(cut_after=0))
    with pytest.raises(anthropic.APIConnectionError):
        wire.create()
    assert wire.emulator.entries == []
    assert wire.emulator.requests[0].usage.prompt == 0
    assert wire.create().content[0].text == "not used up"


def test_a_stream_cut_in_the_middle_has_written_its_entry(wire):
    """U13: the response had started."""
    wire.emulator.fail(Fault(cut_after=3))
    *seen, error = wire.read_stream()
    assert seen in (
        ["message_start", "content_block_start"],
        ["message_start", "content_block_start", "ping"],
    )
    assert isinstance(error, httpx2.HTTPError | anthropic.APIConnectionError)
    assert wire.create().usage.cache_read_input_tokens == 2


def test_a_plain_response_cut_in_the_middle_is_an_error(wire):
    wire.emulator.fail(Fault(cut_after=1))
    with pytest.raises((httpx2.HTTPError, anthropic.APIConnectionError)):
        wire.create()
    assert len(wire.emulator.entries) == 1


def test_a_slow_start_times_out_and_leaves_nothing_written(wire):
    wire.emulator.fail(Fault(delay=timedelta(hours=1)))
    with pytest.raises(anthropic.APITimeoutError):
        wire.create(timeout=0.1)
    wire.emulator.clock.advance(timedelta(hours=2))
    assert wire.create().usage.cache_creation_input_tokens == 2
    assert [record.status for record in wire.emulator.requests] == [0, 200]


def test_a_stream_ends_with_an_error_in_the_middle_and_has_written_its_entry(wire):
    """The response had started; the SDK raises what the event says."""
    wire.emulator.fail(Fault(error_after=2), Fault(error_after=1, status=500), Fault(error_after=99))
    for error, type_ in (("Overloaded", "overloaded_error"), ("Internal server error", "api_error")):
        *seen, raised = wire.read_stream()
        assert seen[0] == "message_start"
        assert (raised.body["error"]["message"], raised.body["error"]["type"]) == (error, type_)
    *seen, raised = wire.read_stream()
    assert "message_stop" not in seen
    assert wire.create().usage.cache_read_input_tokens == 2


def test_a_response_that_is_no_stream_has_no_middle_for_an_error(wire):
    wire.emulator.fail(Fault(error_after=1, status=500))
    assert wire.create().usage.cache_creation_input_tokens == 2


def test_a_slow_stream_takes_its_time_for_every_event(wire):
    """Faults and settings add up."""
    wire.emulator.fail(Fault(chunk_delay=1))
    seen = []
    reader = threading.Thread(target=lambda: seen.append(wire.read_stream()))
    reader.start()
    wait_for(lambda: wire.emulator.entries)
    reader.join(0.05)
    assert seen == []
    wire.emulator.clock.advance(timedelta(seconds=60))
    reader.join(10)
    assert seen[0][-1] == "message_stop"


def test_a_slow_stream_times_out_in_the_middle(wire):
    wire.emulator.fail(Fault(chunk_delay=timedelta(hours=1)))
    *seen, error = wire.read_stream(timeout=0.1)
    assert seen == ["message_start"]
    assert isinstance(error, httpx2.ReadTimeout | anthropic.APITimeoutError)


def test_a_stream_may_be_left_early(wire):
    assert wire.read_stream(events=1) == ["message_start"]
    assert wire.create().usage.cache_read_input_tokens == 2


@pytest.mark.parametrize("way", ["socket", "transport", "async socket", "async transport"])
def test_a_delayed_start_and_delayed_chunks_wait_for_the_clock(emulated, way):
    """A response of eight events or more, the first after ten seconds and one each second from there."""
    api = emulated(first_token_delay=timedelta(seconds=10), chunk_delay=timedelta(seconds=1))
    wire, seen = Wire(api, way), []
    reader = threading.Thread(target=lambda: seen.append(wire.read_stream()))
    reader.start()
    wait_for(lambda: len(api.emulator.requests) == 1)
    assert api.emulator.entries == []
    api.pass_time(seconds=10)
    wait_for(lambda: len(api.emulator.entries) == 1)
    reader.join(0.05)
    assert seen == []
    api.pass_time(seconds=60)
    reader.join(10)
    assert seen[0][-1] == "message_stop"


def test_real_delays_are_real(emulated):
    api = emulated(clock=SystemClock(speed=100), first_token_delay=timedelta(seconds=10))
    for way in ("socket", "transport", "async transport"):
        began = time.monotonic()
        Wire(api, way).create()
        assert 0.09 < time.monotonic() - began < 5


def test_a_client_that_leaves_while_waiting_stops_the_stream(emulated):
    """Nobody waits for the clock any more, and the server goes on serving."""
    api = emulated(chunk_delay=timedelta(seconds=1))
    assert Wire(api, "socket").read_stream(events=1) == ["message_start"]
    wait_for(lambda: not api.emulator.clock._waiters)
    assert api.raw({**REQUEST, "stream": False}).status_code == 200


def test_faults_that_make_no_sense_are_refused():
    for wrong in ({"status": 200}, {"cut_after": -1}, {"status": 600}, {"error_after": 0}):
        with pytest.raises(ValueError, match="must be"):
            Fault(**wrong)
    with pytest.raises(TypeError):
        Fault(delay="a while")


def test_counting_meets_no_faults(api):
    api.emulator.fail(Fault(status=529))
    assert api.client.messages.count_tokens(model="claude-opus-4-8", messages=TALK).input_tokens == 2
    assert api.raw({"messages": TALK}).status_code == 529


def wait_for(condition):
    patience = threading.Event()
    for _ in range(2000):
        if condition():
            return
        patience.wait(0.002)
    raise AssertionError("it never came to that")
