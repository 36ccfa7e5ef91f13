"""Changes of the history: priced before they are made, and made when that costs least."""

from copy import deepcopy
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from convcache import Conversation, ConversationError, OrphanToolResultError
from convcache.core.events import HelperFailed, HistoryEdited
from convcache.emulator.tokens import estimated_tokens
from tests.words import GUIDE, MODEL, TOOL, call, reply, result, text


@pytest.fixture
def events() -> list[Any]:
    return []


@pytest.fixture
def opened(client, emulator, events):
    def opened(name: str = "") -> Conversation:
        return Conversation(
            client,
            model=MODEL,
            max_tokens=500,
            system=name + GUIDE,
            tools=[TOOL],
            clock=emulator.clock.now,
            count=estimated_tokens,
            on_event=events.append,
        )

    return opened


def worked(chat, emulator, rounds: int = 6, words: int = 400) -> None:
    """A loop with long results."""
    content: Any = "look these up"
    for number in range(rounds):
        emulator.script(reply(call(f"call{number}")))
        chat.send(content)
        content = [result(f"call{number}", f"found {number} " * words)]
    emulator.script(reply(text("That is all.")))
    chat.send(content)


def without_results(messages: list[dict]) -> list[dict]:
    """Every tool result but the last two is cleared."""
    edited = deepcopy(messages)
    results = [
        block for message in edited for block in message["content"]
        if not isinstance(block, str) and block["type"] == "tool_result"
    ]  # fmt: skip
    for block in results[:-2]:
        block["content"] = "cleared"
    return edited


def paid(chat) -> Decimal:
    """What the prompt of the last request cost."""
    turn = chat.turns[-1]
    prices = {"read": "0.50", "written_5m": "6.25", "uncached": "5"}
    return sum(getattr(turn.actual, name) * Decimal(price) for name, price in prices.items()) / 1_000_000


def edits_made(events: list[Any]) -> int:
    return len([event for event in events if isinstance(event, HistoryEdited)])


@pytest.mark.parametrize("say", ["go on", "go on " * 500])
def test_the_price_told_is_the_bill(opened, emulator, say):
    plain, edited = opened("A"), opened("B")
    for chat in (plain, edited):
        worked(chat, emulator)
    edit = edited.edit(without_results, when="now")
    for chat in (plain, edited):
        emulator.script(reply(text("Gladly.")))
        chat.send(say)

    assert edit.done
    assert edit.tokens > 2_000
    assert edit.price > 0
    assert edit.price == paid(edited) - paid(plain)
    for chat in (plain, edited):
        emulator.script(reply(text("Gladly.")))
        chat.send("and on")
    assert edit.saving == paid(plain) - paid(edited)


def test_an_edit_keeps_reading_what_stands_before_it(opened, emulator):
    chat = opened()
    worked(chat, emulator)
    chat.edit(without_results, when="now")
    chat.send("go on")

    assert chat.turns[-1].actual.read >= chat.turns[1].forecast.read > 5_000
    assert chat.turns[-1].forecast.read == chat.turns[-1].actual.read


def test_when_cold_it_waits_for_the_cache_to_lapse_and_costs_nothing(opened, emulator, events):
    plain, edited = opened("A"), opened("B")
    for chat in (plain, edited):
        worked(chat, emulator)
    edit = edited.edit(without_results, when="cold")
    for chat in (plain, edited):
        chat.send("go on")
    assert (edit.done, edits_made(events)) == (False, 0)
    assert paid(edited) == paid(plain)

    emulator.clock.advance(timedelta(minutes=6))
    for chat in (plain, edited):
        chat.send("go on")
    assert edits_made(events) == 1
    assert paid(edited) < paid(plain)
    assert "cleared" in str(edited.messages)


@pytest.mark.parametrize("is_sent", [False, True])
def test_a_change_cannot_take_away_where_a_tool_came_in_and_keep_where_it_goes(opened, emulator, is_sent):
    chat = opened()
    chat.send("hello")
    chat.add_tools({**TOOL, "name": "another"})
    chat.send("now there are two")
    chat.remove_tools("another")
    if is_sent:
        chat.send("now there is one")
    before = chat.messages
    with pytest.raises(ConversationError, match="takes away another"):
        chat.edit(lambda messages: [said for said in messages if "addition" not in str(said)], when="now")
    assert chat.messages == before
    chat.send("go on")


def test_a_tool_loop_makes_what_waited_too(opened, emulator, events):
    chat = opened()
    worked(chat, emulator)
    chat.edit(without_results, when="cold")
    emulator.clock.advance(timedelta(minutes=6))
    chat.tool_runner("go on").until_done()

    assert edits_made(events) == 1
    assert "cleared" in str(emulator.requests[-1].body)
    assert chat.turns[-1].forecast.prompt == chat.turns[-1].actual.prompt


def test_in_a_cold_conversation_it_is_made_at_once(opened, emulator):
    chat = opened()
    worked(chat, emulator)
    emulator.clock.advance(timedelta(minutes=6))
    edit = chat.edit(without_results, when="cold")

    assert edit.done
    assert edit.price < 0


def test_when_it_pays_it_is_made_as_soon_as_enough_turns_are_likely(opened, emulator, events):
    chat = opened()
    worked(chat, emulator, rounds=4)
    edit = chat.edit(without_results, when="pays")
    assert not edit.done
    needed = int(edit.price / edit.saving)
    for number in range(needed + 10):
        chat.send(f"go on {number}")
        if edits_made(events):
            break

    assert 5 < len(chat.turns) < needed + 12
    assert edits_made(events) == 1


def test_a_summary_can_take_the_place_of_what_it_stands_for(opened, emulator):
    chat = opened()
    worked(chat, emulator)
    asked = [{"role": "user", "content": "A summary of what was looked up."}]
    chat.edit(lambda messages: [*asked, messages[-1]], when="now")
    chat.send("go on")

    assert len(emulator.requests[-1].body["messages"]) == 3
    chat.rewind()
    assert len(chat.messages) == 2


def test_turns_can_be_taken_back_after_an_edit_that_keeps_their_number(opened, emulator):
    chat = opened()
    worked(chat, emulator)
    chat.edit(without_results, when="now")
    chat.rewind(7)
    assert chat.messages == []


def test_an_edit_that_breaks_the_history_changes_nothing(opened, emulator):
    chat = opened()
    worked(chat, emulator)
    before = chat.messages
    with pytest.raises(OrphanToolResultError):
        chat.edit(lambda messages: messages[2:], when="now")
    assert chat.messages == before
    chat.send("go on")


def test_an_edit_that_fails_while_it_waits_fails_no_turn(opened, emulator, events):
    calls = []

    def once(messages: list[dict]) -> list[dict]:
        calls.append(messages)
        if len(calls) > 1:
            raise RuntimeError("not again")
        return without_results(messages)

    chat = opened()
    worked(chat, emulator)
    chat.edit(once, when="cold")
    emulator.clock.advance(timedelta(minutes=6))
    chat.send("go on")
    chat.send("and on")

    (failed,) = [event for event in events if isinstance(event, HelperFailed)]
    assert (failed.step, str(failed.error)) == ("editing", "not again")


def test_another_time_is_refused_by_name(opened):
    with pytest.raises(ValueError, match="'now', 'cold', 'pays', not 'later'"):
        opened().edit(without_results, when="later")
