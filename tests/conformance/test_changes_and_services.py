"""T32 to T44, T49 and T50: what a change costs, and what lies around a request."""

import pytest

from convcache.conformance import RULES


@pytest.mark.parametrize("row", [rule.id for rule in RULES if rule.id.startswith("T32.")])
def test_t32_a_change_loses_its_level_and_all_that_follow(agrees, row):
    agrees(row)


def test_t33_saying_the_default_effort_is_the_same_as_saying_nothing(agrees):
    agrees("T33")


def test_t34_newer_models_keep_thinking_and_older_ones_read_up_to_the_opening_message(agrees):
    agrees("T34")


def test_t35_a_turn_of_tool_results_keeps_thinking_on_every_model(agrees):
    agrees("T35")


def test_t36_system_messages_keep_the_prefix_and_those_for_a_turn_are_never_in_it(agrees):
    agrees("T36")


def test_t37_prewarming_writes_says_nothing_and_refuses_what_needs_an_answer(agrees):
    agrees("T37")


def test_t38_a_prewarmed_prefix_is_read_unless_the_placeholder_was_marked(agrees):
    agrees("T38")


def test_t39_diagnostics_name_the_section_that_changed(agrees):
    agrees("T39")


def test_t40_an_expired_entry_is_no_divergence(agrees):
    agrees("T40")


@pytest.mark.parametrize("platform", ["claude", "bedrock"])
def test_t41_entries_are_apart_by_workspace_or_shared_by_the_organization(agrees, platform):
    agrees("T41", platform=platform, expecting=platform)


def test_t43_the_rate_limit_counts_what_is_uncached_or_written_only(agrees):
    agrees("T43", input_tokens_per_minute=50_000)


def test_t44_a_server_tool_writes_its_result_for_five_minutes_if_anything_is_marked(agrees):
    agrees("T44")


def test_t49_counting_tokens_checks_breakpoints_and_is_not_changed_by_them(agrees):
    agrees("T49")


def test_t50_after_a_batch_of_one_the_rest_reads_for_an_hour_and_not_after_ten_minutes_of_five(agrees):
    agrees("T50")
