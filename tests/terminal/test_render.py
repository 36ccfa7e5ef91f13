"""Numbers, times and reasons as a person reads them, and text that cannot steer the terminal."""

import doctest
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx2
import pytest
from anthropic import APIConnectionError
from rich.console import Console

from convcache import Costs, Miss, Turn, Usage
from convcache.core.catalog import model
from convcache.terminal import render
from convcache.terminal.guide import GUIDE
from convcache.terminal.screen import Flow, printable, screen
from convcache.terminal.session import explained

AT = datetime(2026, 1, 1, tzinfo=UTC)


COSTS = Costs(Decimal("0.00162"), Decimal("0.0121"))


def turn(miss: Miss | None = None, costs: Costs = COSTS) -> Turn:
    usage = Usage(read=2310, written_5m=45)
    return Turn(started=AT, forecast=None, actual=usage, costs=costs, lapses=None, miss=miss)


def test_the_examples_hold():
    assert doctest.testmod(render).failed == 0


def test_a_turn_is_one_line():
    line = render.cache_line(turn(), None)

    assert line == "cache: 2,310 read, 45 written, 0 uncached | $0.0016 instead of $0.0121 uncached"


def test_a_miss_adds_its_reason_in_plain_words():
    line = render.cache_line(turn(Miss.EXPIRED), timedelta(minutes=7))

    assert line.endswith("| missed: the pause outlived the cache (7m 00s since the last turn)")


def test_there_are_words_for_every_reason():
    assert set(render.REASONS) == set(Miss)


def test_a_model_without_prices_says_so():
    assert "no prices are known" in render.cache_line(turn(costs=Costs(None, None)), None)


def test_text_from_elsewhere_cannot_steer_the_terminal():
    assert printable("a\x1b[31mb\x07\r\n\tc\x9b") == "a[31mb\n\tc"


@pytest.mark.parametrize("size", [1, 3, 80])
def test_an_answer_breaks_between_words_on_a_terminal_however_it_arrives(size):
    shown = io.StringIO()
    flow = Flow(Console(file=shown, force_terminal=True, width=12))
    text = "every word whole\nand a-word-longer-than-a-line-and-thirty-characters 漢字"

    for start in range(0, len(text), size):
        flow.add(text[start : start + size])
    flow.end()

    assert [line.rstrip() for line in shown.getvalue().splitlines()][:3] == ["every word", "whole", "and"]
    assert "".join(shown.getvalue().split()) == "".join(text.split())


def test_an_answer_in_a_pipe_stays_as_it_is():
    shown = io.StringIO()
    flow = Flow(Console(file=shown, width=12))

    flow.add("every  word stays where it is")
    flow.end()

    assert shown.getvalue() == "every  word stays where it is\n"


@pytest.mark.parametrize("wish", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_nothing_is_styled_for_somebody_who_wants_it_plain(monkeypatch, wish):
    for name, value in wish.items():
        monkeypatch.setenv(name, value)

    assert screen().color_system is None


def test_an_api_that_cannot_be_reached_is_explained_in_one_line():
    error = APIConnectionError(request=httpx2.Request("POST", "http://127.0.0.1:1/v1/messages"))
    error.__cause__ = httpx2.ConnectError("Connection refused")

    assert explained(error) == "The API cannot be reached: Connection refused."


def test_the_guide_is_long_enough_to_be_cached_with_a_margin():
    assert len(GUIDE.encode()) / 4 > 1.5 * model("claude-opus-5").minimum


def test_the_guide_names_the_numbers_of_the_catalogue():
    prices = model("claude-opus-5").prices
    assert prices is not None
    assert (prices.input, prices.write_5m, prices.write_1h, prices.read, prices.output) == (
        5, Decimal("6.25"), 10, Decimal("0.5"), 25,
    )  # fmt: skip
    assert "5 dollars per million input tokens, 6.25 to write" in GUIDE
    minimums = {
        512: ("opus-5", "opus-5-5", "sonnet-5-5", "haiku-5-5", "fable-5", "mythos-5-2"),
        1024: ("opus-4-8", "opus-4-1", "sonnet-5", "sonnet-4-6", "sonnet-4-5"),
        2048: ("opus-4-7", "haiku-3-5"),
        4096: ("opus-4-6", "opus-4-5", "haiku-4-5"),
    }
    for minimum, names in minimums.items():
        assert {model(f"claude-{name}").minimum for name in names} == {minimum}
        assert f"{minimum:,}" in GUIDE
