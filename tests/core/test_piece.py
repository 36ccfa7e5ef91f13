"""A block, read once: its bytes on the wire, what it is known by, and what planning asks of it."""

import copy

import pytest
from anthropic._utils._json import openapi_dumps
from hypothesis import given

from convcache.core.blocks import (
    breakpoint_ttl,
    is_markable,
    is_shared,
    marked,
    shared,
    takes_own_breakpoint,
    text_length,
    unmarked,
)
from convcache.core.piece import Piece, pieces_of
from tests.strategies import exchanges
from tests.words import BLOCKS, text


def check(block: dict) -> None:
    before = copy.deepcopy(block)
    piece = Piece.of(block)

    assert piece.json is block == before
    assert piece.wire == openapi_dumps(unmarked(block))
    assert piece.key == openapi_dumps({name: unmarked(block)[name] for name in sorted(unmarked(block))})
    assert piece.length == text_length(block)
    assert piece.markable == (is_markable(block) or takes_own_breakpoint(block))
    assert (piece.kind, piece.own, piece.shared) == (block["type"], breakpoint_ttl(block), is_shared(block))
    assert piece.bare == (unmarked(block) is block)


@pytest.mark.parametrize("kind", BLOCKS)
def test_it_tells_of_every_block_what_its_json_tells(kind):
    check(BLOCKS[kind])
    check(marked(BLOCKS[kind], "1h"))
    check({name: BLOCKS[kind][name] for name in reversed(BLOCKS[kind])})
    check({"type": "tool_result", "tool_use_id": "a", "content": [text("and"), marked(BLOCKS[kind], "5m")]})


@given(exchanges())
def test_it_tells_of_any_message_what_its_json_tells(messages):
    for message in messages:
        for piece, block in zip(pieces_of(message), message["content"], strict=True):
            assert piece.json is block
            check(block)


@pytest.mark.parametrize("words", ["", " \n", "ascii", "é", "\N{GRINNING FACE}", 'a "quote" \\ \x00'])
def test_a_text_is_read_like_any_other_block(words):
    for block in ({"type": "text", "text": words}, {"text": words, "type": "text"}, text(words)):
        check(block)


def test_a_text_that_others_share_says_so():
    assert Piece.of(dict(shared("what all tenants share"))).shared
    assert not Piece.of(text("what one says")).shared


@pytest.mark.parametrize(
    ("block", "traits"),
    [
        ({"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"thinking"}),
        ({"type": "compaction", "content": "So far.", "signature": "s"}, {"summary"}),
        ({"type": "compaction", "content": None}, set()),
        ({"type": "image", "source": {}}, {"image"}),
        (
            {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "image", "source": {}}]},
            {"image"},
        ),
        ({"type": "document", "source": {}, "citations": {"enabled": True}}, {"citations"}),
        ({"type": "document", "source": {}, "citations": {"enabled": False}}, set()),
        ({"type": "text", "text": "So.", "citations": [{"type": "char_location"}]}, set()),
        (text('an "image" and "citations" to think about'), set()),
    ],
)
def test_what_is_in_a_block_is_told(block, traits):
    assert {*Piece.of(block).traits} == traits


@pytest.mark.parametrize("broken", ["\ud83d", float("nan"), float("inf"), object(), b"bytes"])
def test_what_has_no_json_form_is_no_piece(broken):
    for block in (
        {"type": "text", "text": broken},
        {"type": "tool_use", "id": "a", "name": "n", "input": [broken]},
    ):
        with pytest.raises((TypeError, ValueError)):
            Piece.of(block)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "tool_result", "content": ["a"]},
        {"type": "tool_result", "tool_use_id": "x", "content": [None, 1, {"type": "image"}]},
        {"type": ["x"], "text": "a", "cache_control": {"type": "ephemeral"}},
        {"type": "tool_use", "name": None, "input": None},
        {"type": "document", "source": None, "citations": []},
        {"type": "thinking", "thinking": None},
        {"text": "no type"},
        {},
    ],
)
def test_whatever_is_json_can_be_read(block):
    piece = Piece.of(block)

    assert piece.wire == openapi_dumps(unmarked(block))
    assert piece.length >= 0


def test_keys_are_strings():
    with pytest.raises(TypeError, match="keys are strings, not 1"):
        Piece.of({"type": "text", "text": "x", 1: 2})
