"""T18 to T31: how far a breakpoint looks back, how long entries live, what is billed."""

import pytest

from convcache.conformance.models import named


def test_t18_twenty_positions_are_tested_the_breakpoint_being_the_first(agrees):
    agrees("T18")


def test_t19_the_documents_example_misses_by_one_and_a_second_breakpoint_helps(agrees):
    agrees("T19")


def test_t20_an_earlier_breakpoint_has_a_window_of_its_own(agrees):
    agrees("T20")


@pytest.mark.parametrize("platform", ["claude", "bedrock"])
def test_t21_parallel_calls_are_one_position_on_the_claude_api_and_rounds_are_two(agrees, platform):
    agrees("T21", platform=platform, expecting=platform)


def test_t22_the_walk_crosses_from_messages_into_system(agrees):
    agrees("T22")


@pytest.mark.parametrize("model", named())
def test_t23_a_prefix_below_the_models_minimum_is_not_cached_and_no_error(agrees, model):
    agrees("T23", model=model)


def test_t24_the_ttl_runs_from_the_start_of_the_request(agrees):
    agrees("T24")


def test_t25_every_use_prolongs_an_entry(agrees):
    agrees("T25")


def test_t26_an_hour_is_an_hour(agrees):
    agrees("T26")


def test_t27_an_entry_can_be_read_once_the_first_response_has_begun(agrees):
    agrees("T27")


def test_t28_a_request_is_billed_by_highest_hit_highest_hour_and_last_breakpoint(agrees):
    agrees("T28")


def test_t29_read_written_and_uncached_add_up_to_the_prompt(agrees):
    agrees("T29")


def test_t30_in_a_growing_chat_each_read_is_what_was_cached_before(agrees):
    agrees("T30")


def test_t31_a_stream_tells_the_usage_of_the_same_request_without_one(agrees):
    agrees("T31")
