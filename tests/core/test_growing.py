"""A sequence that grows without being copied."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convcache.core.growing import Growing

items = st.lists(st.integers(), max_size=200)


@given(st.lists(items, max_size=6), st.integers(-1, 400))
def test_it_reads_like_the_tuple_of_all_that_was_added(parts, at):
    grown, whole = Growing(), ()
    for part in parts:
        grown, whole = grown.plus(part), (*whole, *part)

    assert (len(grown), tuple(grown), tuple(reversed(grown))) == (len(whole), whole, whole[::-1])
    assert grown[at : at + 30] == whole[at : at + 30]
    if -len(whole) <= at < len(whole):
        assert grown[at] == whole[at]
    else:
        with pytest.raises(IndexError):
            grown[at]


@given(items, st.integers(0, 250))
def test_it_is_read_from_an_item_on_in_the_tuples_that_hold_it(whole, start):
    assert [item for chunk in Growing(whole).chunks(start) for item in chunk] == whole[start:]


@given(items, st.integers(0, 250))
def test_it_is_read_from_an_item_on(whole, start):
    assert [*Growing(whole).since(start)] == whole[start:]


@given(items, st.integers(0, 250))
def test_it_is_read_back_from_any_place(whole, end):
    assert [*Growing(whole).back_from(end)] == whole[:end][::-1]


@given(items, items, items)
def test_what_grew_from_the_same_does_not_see_the_other(start, one, other):
    base = Growing(start)
    grown = base.plus(one), base.plus(other)

    assert [list(base), *map(list, grown)] == [start, start + one, start + other]


@given(items, st.integers(0, 250), items)
def test_a_first_part_goes_on_another_way(whole, count, more):
    cut = Growing(whole).first(count)

    assert list(cut) == whole[:count]
    assert list(cut.plus(more)) == whole[:count] + more


def test_what_grows_shares_all_but_the_last_items():
    base = Growing(object() for _ in range(1_000))
    grown = base.plus([object()])

    assert all(one is other for one, other in zip(base._chunks, grown._chunks, strict=True))
    assert len(grown._last) < 64


@given(items, items)
def test_two_that_are_equally_long_are_cut_in_the_same_places(start, more):
    grown, at_once = Growing(start).plus(more), Growing([0] * len(start + more))

    assert [*map(len, grown.chunks())] == [*map(len, at_once.chunks())]
