"""T1 to T17: what is part of the key, and where breakpoints may stand."""

import pytest


def test_t1_tools_come_before_system_and_system_before_messages(agrees):
    agrees("T1")


def test_t2_entries_are_written_at_breakpoints_only(agrees):
    agrees("T2")


def test_t3_a_breakpoint_is_no_part_of_the_key(agrees):
    agrees("T3")


def test_t4_a_ttl_is_no_part_of_the_key(agrees):
    agrees("T4")


def test_t5_a_string_is_the_one_text_block_it_stands_for(agrees):
    agrees("T5")


@pytest.mark.parametrize(("normalise", "seen"), [(False, "counts"), (True, "is neutral")])
def test_t6_a_repeated_default_costs_its_block_at_most(agrees, outcomes, normalise, seen):
    agrees("T6", normalise_defaults=normalise)
    assert f"default: {seen}" in outcomes("T6", normalise_defaults=normalise)["T6"].observed


def test_t7_the_order_of_keys_in_a_tools_input_counts(agrees):
    agrees("T7")


def test_t8_a_match_is_complete_images_to_the_byte(agrees):
    agrees("T8")


def test_t9_a_request_has_at_most_four_breakpoints(agrees):
    agrees("T9")


def test_t10_the_top_level_breakpoint_takes_a_slot(agrees):
    agrees("T10")


def test_t11_the_top_level_breakpoint_walks_back_to_a_block_that_can_carry_it(agrees):
    agrees("T11")


def test_t12_a_coinciding_top_level_breakpoint_agrees_or_is_refused(agrees):
    agrees("T12")


def test_t13_an_hour_after_five_minutes_is_refused_with_the_path_of_the_first_offender(agrees):
    agrees("T13")


def test_t14_the_number_of_breakpoints_is_checked_before_their_order(agrees):
    agrees("T14")


def test_t15_empty_text_thinking_and_string_content_cannot_be_marked(agrees):
    agrees("T15")


def test_t16_a_deferred_tool_cannot_be_marked_and_is_not_in_the_prefix(agrees):
    agrees("T16")


def test_t17_without_a_breakpoint_nothing_is_cached(agrees):
    agrees("T17")
