"""Tokens and money."""

from decimal import Decimal

import pytest

from convcache import Costs, Usage
from convcache.core.catalog import MODELS, Terms, model, platform
from convcache.core.usage import Bill, UsageMeter

A_MILLION_OF_EACH = Usage(
    read=1_000_000, written_5m=1_000_000, written_1h=1_000_000, uncached=1_000_000, output=1_000_000
)

# input + 5m write + 1h write + read + output, from the pricing table.
GOLDEN = {
    "fable-5-2": "74.20", "mythos-5-2": "74.20", "fable-5-1": "92.75", "mythos-5-1": "92.75",
    "fable-5": "93.50", "mythos-5": "93.50", "opus-5-5": "37.20", "opus-5": "46.75", "opus-4-8": "46.75",
    "opus-4-7": "46.75", "opus-4-6": "46.75", "opus-4-5": "46.75", "opus-4-1": "140.25", "opus-4": "140.25",
    "sonnet-5-5": "18.60", "sonnet-5": "18.70", "sonnet-4-6": "28.05", "sonnet-4-5": "28.05",
    "sonnet-4": "28.05", "haiku-5-5": "4.675", "haiku-4-5": "9.35", "haiku-3-5": "7.48",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_million_tokens_of_each_kind_cost_the_price_list(name):
    assert Decimal(GOLDEN[name]) == A_MILLION_OF_EACH.cost(MODELS[name])


def test_haiku_5_5_prices_the_whole_request_by_its_prompt():
    small, large = Usage(uncached=100_000, output=10), Usage(uncached=60_000, read=40_001, output=10)

    assert Decimal("0.010005") == small.cost(model("claude-haiku-5-5"))
    assert Decimal("0.03202505") == large.cost(model("claude-haiku-5-5")) + 0


@pytest.mark.parametrize(
    ("terms", "cost"),
    [
        ({"service_tier": "batch"}, "23.375"),
        ({"inference_geo": "us"}, "51.425"),
        ({"service_tier": "batch", "inference_geo": "us"}, "25.7125"),
        ({"speed": "fast"}, "93.50"),
        ({"speed": "standard", "inference_geo": "global", "service_tier": "priority"}, "46.75"),
    ],
)
def test_the_terms_of_a_request_are_part_of_its_price(terms, cost):
    bill = Bill.of({"input_tokens": 1, "output_tokens": 1, **terms})

    assert Decimal(cost) == A_MILLION_OF_EACH.cost(model("claude-opus-5"), bill.terms)


def test_fast_mode_has_no_price_where_there_is_none():
    assert A_MILLION_OF_EACH.cost(model("claude-haiku-4-5"), Terms(is_fast=True)) is None


def test_the_uncached_cost_pays_every_prompt_token_in_full():
    usage = Usage(read=900_000, written_5m=100_000)

    assert Decimal("5.00") == usage.uncached_cost(model("claude-opus-5"))


def test_a_model_without_prices_has_no_cost_and_none_is_made_up():
    unknown = model("claude-unheard-9")

    assert Usage(read=5).cost(unknown) is None
    assert Costs() + Costs.of(Usage(read=5), unknown) == Costs(None, None)


@pytest.mark.parametrize(
    ("model_id", "name"),
    [
        ("claude-opus-5", "opus-5"),
        ("claude-sonnet-4-5-20250929", "sonnet-4-5"),
        ("claude-opus-4-20250514", "opus-4"),
        ("claude-opus-4-0", "opus-4"),
        ("claude-3-5-haiku-20241022", "haiku-3-5"),
        ("claude-3-5-haiku-latest", "haiku-3-5"),
        ("claude-haiku-4-5@20251001", "haiku-4-5"),
        ("us.anthropic.claude-opus-4-6-v1:0", "opus-4-6"),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "sonnet-4-5"),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-5", "opus-5"),
    ],
)
def test_a_model_is_known_by_every_form_of_its_id(model_id, name):
    assert name == model(model_id).name


def test_bedrock_is_told_from_the_form_of_the_id():
    assert platform("us.anthropic.claude-opus-5") == "bedrock"
    assert platform("arn:aws:bedrock:us-east-1:1:application-inference-profile/a1") == "bedrock"
    assert platform("claude-opus-5@20260101") == "claude"


def test_usage_is_read_from_the_api_with_its_split_by_lifetime():
    billed = {
        "input_tokens": 3,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 50,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
        "output_tokens": 7,
    }

    assert Usage(read=100, written_5m=20, written_1h=30, uncached=3, output=7) == Usage.of(billed)


def test_missing_and_null_counts_are_zero():
    assert Usage(uncached=3, output=1) == Usage.of(
        {"input_tokens": 3, "output_tokens": 1, "cache_read_input_tokens": None, "cache_creation": None}
    )


def test_iterations_are_what_is_billed():
    one = {"input_tokens": 3, "output_tokens": 1, "cache_read_input_tokens": 10}

    assert Usage(read=20, uncached=6, output=2) == Usage.of({"input_tokens": 0, "iterations": [one, one]})


def test_the_meter_knows_the_bill_from_the_first_event():
    meter = UsageMeter()
    assert meter.bill is None

    start = {"input_tokens": 3, "cache_read_input_tokens": 10, "output_tokens": 1}
    meter.feed({"type": "message_start", "message": {"usage": start}})
    assert Bill(total=Usage(read=10, uncached=3, output=1)) == meter.bill
    assert not meter.complete


def test_later_events_repeat_the_totals_and_leave_the_split():
    meter = UsageMeter()
    split = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 50}
    start = {
        "input_tokens": 3,
        "cache_creation_input_tokens": 50,
        "cache_creation": split,
        "output_tokens": 1,
    }
    meter.feed({"type": "message_start", "message": {"usage": start}})
    meter.feed({"type": "message_delta", "usage": {"output_tokens": 20, "input_tokens": None}})
    meter.feed({"type": "message_stop"})

    assert Bill(total=Usage(written_1h=50, uncached=3, output=20)) == meter.bill
    assert meter.complete
