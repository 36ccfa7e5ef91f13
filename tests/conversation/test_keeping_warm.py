"""What is done about a conversation that rests: decided, carried out on request, and booked."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from anthropic import APIStatusError, InternalServerError

from convcache import AsyncConversation, Conversation, Miss, Policy
from convcache.core.events import KeptWarm, TurnSettled, WarmthEnded
from convcache.core.proof import TELLS_AFTER, Proof
from convcache.core.rhythm import Rhythm
from convcache.emulator import Emulator, Fault, Settings, VirtualClock
from convcache.emulator.tokens import estimated_tokens
from convcache.habits import Habits
from convcache.keeper import AsyncKeeper, Budget, Keeper
from tests.conftest import START
from tests.words import GUIDE, MODEL, TOOL, call, marked_paths, reply, result, text

LONG = GUIDE * 8
"""Some 42,000 tokens."""


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def returning(after: timedelta, times: int = 400) -> Habits:
    """An application whose conversations always go on after so long."""
    rhythm = Rhythm()
    for what in ("opener", "early", "settled", "tool_use"):
        for _ in range(times):
            rhythm = rhythm.after(what, after)
    return Habits(rhythm)


def gone() -> Habits:
    """An application whose conversations never go on."""
    rhythm = Rhythm()
    for what in ("opener", "early", "settled", "tool_use"):
        for _ in range(400):
            rhythm = rhythm.after(what, timedelta(hours=25), returned=False)
    return Habits(rhythm)


@pytest.fixture
def events() -> list[Any]:
    return []


@pytest.fixture
def opened(client, emulator, events):
    """Conversations with a keeper that never gets to work: the clock is the emulator's."""

    def opened(habits: Habits, **options: Any) -> Conversation:
        keeper = Keeper(habits=habits, clock=emulator.clock.now)
        keeper.pause()
        given = {"model": MODEL, "max_tokens": 500, "system": LONG, "keeper": keeper, **options}
        counting = {"clock": emulator.clock.now, "count": estimated_tokens, "on_event": events.append}
        return Conversation(client, **given, **counting)

    return opened


def happened(events: list[Any], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def test_a_conversation_that_will_go_on_is_kept_alive_just_before_its_entry_lapses(opened, emulator):
    chat = opened(returning(minutes(9)))
    began = emulator.clock.now()
    chat.send("hello")

    assert chat.decision.action != "lapse"
    assert timedelta(minutes=4) < chat.decision.due - began < minutes(5)
    assert chat.decision.saving > chat.decision.cost > 0


def test_one_that_will_not_go_on_is_left_to_lapse(opened):
    chat = opened(gone())
    chat.send("hello")
    assert (chat.decision.action, chat.decision.due) == ("lapse", None)
    assert chat.keep_alive() is None


def test_a_keep_alive_reads_all_and_the_next_turn_finds_it_warm(opened, emulator, events):
    chat = opened(returning(minutes(9)), tools=[TOOL])
    emulator.script(reply(call("a")))
    chat.send("hello")
    history = chat.messages
    emulator.clock.advance(minutes(4.75))
    turn = chat.keep_alive()
    emulator.clock.advance(minutes(4))
    chat.send([result("a")])

    assert turn.actual.read == chat.turns[0].actual.cached
    assert (turn.actual.written, turn.actual.output) == (0, 0)
    assert turn.forecast.read == turn.actual.read
    assert emulator.requests[1].body["max_tokens"] == 0
    assert chat.turns[1].actual.read == chat.turns[0].actual.cached
    assert chat.turns[1].miss is None
    assert history == chat.messages[:2]
    assert [event.action for event in happened(events, KeptWarm)] == ["keep_alive"]


def test_what_it_costs_is_the_conversations_and_whether_it_paid_is_told(opened, emulator, events):
    chat = opened(returning(minutes(9)))
    chat.send("hello")
    before = chat.costs
    emulator.clock.advance(minutes(4.75))
    turn = chat.keep_alive()
    assert chat.costs.paid - before.paid == turn.costs.paid > 0
    assert chat.costs.uncached == before.uncached
    emulator.clock.advance(minutes(4))
    chat.send("more")

    (ended,) = happened(events, WarmthEnded)
    assert (ended.sent, ended.spent, ended.paid) == (1, turn.costs.paid, True)
    assert len(happened(events, TurnSettled)) == 2


def test_what_was_not_needed_did_not_pay(opened, emulator, events):
    chat = opened(returning(minutes(9)))
    chat.send("hello")
    emulator.clock.advance(minutes(4.75))
    chat.keep_alive()
    emulator.clock.advance(timedelta(seconds=5))
    chat.send("more")

    (ended,) = happened(events, WarmthEnded)
    assert not ended.paid


def test_an_upgrade_writes_the_reply_for_an_hour_and_reads_the_rest(opened, emulator, events):
    chat = opened(returning(minutes(50)), system=LONG)
    emulator.script(reply(text("An answer. " * 20)))
    chat.send("hello")
    emulator.clock.advance(minutes(4.75))
    assert chat.decision.action == "upgrade"
    turn = chat.keep_alive()
    body = emulator.requests[-1].body

    assert turn.actual.read == chat.turns[0].actual.cached
    assert 0 < turn.actual.written_1h < 150
    assert turn.actual.written_5m == 0
    assert turn.forecast == turn.actual
    assert marked_paths(body)[-1] == "messages.1.0"
    assert body["messages"][-1]["role"] == "user"
    emulator.clock.advance(minutes(45))
    chat.send("more")
    assert chat.turns[1].actual.read == turn.actual.cached
    assert chat.turns[1].forecast.read == chat.turns[1].actual.read
    assert chat.turns[1].miss is None


def test_an_upgrade_is_tried_by_one_conversation_until_it_was_seen_to_hold(opened, emulator):
    habits = returning(minutes(50))
    first, second = opened(habits), opened(habits)
    for chat in (first, second):
        chat.send("hello")
    emulator.clock.advance(minutes(4.75))
    assert first.decision.action == "upgrade"
    first.keep_alive()
    assert second.decision.action != "upgrade"
    emulator.clock.advance(minutes(20))
    first.send("more")
    others = [opened(habits, policy=Policy(ttl="5m"), system=f"{n} {LONG}") for n in range(2)]
    for chat in others:
        chat.send("hello")
    assert {chat.decision.action for chat in others} == {"upgrade"}


def test_an_upgrade_on_trial_is_read_again_after_five_minutes_and_then_the_others_follow(opened, emulator):
    habits = returning(minutes(50))
    first, second = opened(habits), opened(habits)
    for chat in (first, second):
        chat.send("hello")
    emulator.clock.advance(minutes(4.75))
    first.keep_alive()
    trial = first.decision
    emulator.clock.advance(trial.due - emulator.clock.now())
    read = first.keep_alive()

    assert trial.action == "keep_alive"
    assert minutes(5) < TELLS_AFTER < minutes(6)
    assert read.actual.read > 0 == read.actual.written
    assert habits.rhythm.proof(MODEL).holds
    assert first.decision.action == "lapse"


def test_an_upgrade_that_is_gone_after_five_minutes_ends_upgrades_and_keeping_warm(opened, emulator):
    habits = returning(minutes(50))
    chat = opened(habits)
    chat.send("hello")
    emulator.clock.advance(minutes(4.75))
    chat.keep_alive()
    emulator.evict()
    emulator.clock.advance(TELLS_AFTER)
    chat.keep_alive()
    assert chat.decision.action == "lapse"
    emulator.clock.advance(minutes(20))
    chat.send("more")

    assert chat.turns[1].actual.read > 0
    assert habits.rhythm.proof(MODEL) == Proof(lost=1)


def test_one_that_goes_on_too_soon_to_tell_leaves_the_trial_to_another(opened, emulator):
    habits = returning(minutes(50))
    first, second = opened(habits), opened(habits)
    first.send("hello")
    emulator.clock.advance(minutes(3))
    second.send("hello")
    emulator.clock.advance(minutes(1.75))
    first.keep_alive()
    emulator.clock.advance(minutes(1))
    first.send("more")
    emulator.clock.advance(minutes(2))

    assert second.decision.action == "upgrade"


@pytest.mark.parametrize("seen", [Proof(), Proof(held=1)], ids=["unproven", "proven"])
def test_an_hour_above_five_minutes_is_written_only_once_one_was_seen_to_hold(opened, seen):
    habits = returning(minutes(50))
    chat = opened(Habits(habits.rhythm.with_proof(MODEL, seen)))
    chat.send("hello")
    chat.send("more")

    assert chat.turns[0].actual.written_5m > 0
    assert (chat.turns[1].actual.written_1h > 0) == seen.holds


def on_trial(opened, emulator, **options) -> Conversation:
    """A conversation that was upgraded just now, the first one of all."""
    chat = opened(returning(minutes(50)), **options)
    chat.send("hello")
    emulator.clock.advance(minutes(4.75))
    assert chat.keep_alive().actual.written_1h > 0
    return chat


def proof(chat: Conversation) -> Proof:
    return chat._state.pauses.habits.rhythm.proof(MODEL)


@pytest.mark.parametrize(
    "options", [{"tools": [TOOL]}, {"model": "claude-haiku-4-5"}, {"system": "Be brief."}]
)
def test_a_turn_that_does_not_look_for_what_was_upgraded_says_nothing_of_it(opened, emulator, options):
    chat = on_trial(opened, emulator)
    emulator.clock.advance(minutes(20))
    chat.send("more", **options)

    assert proof(chat) == Proof()


def test_a_message_too_long_to_find_what_was_upgraded_says_nothing_of_it(opened, emulator):
    chat = on_trial(opened, emulator)
    emulator.clock.advance(minutes(20))
    chat.send([{"type": "text", "text": f"part {n}"} for n in range(30)])

    assert proof(chat) == Proof()


def test_an_upgrade_that_had_to_write_everything_proves_nothing(opened, emulator):
    chat = opened(returning(minutes(50)))
    chat.send("hello")
    emulator.clock.advance(minutes(4.75))
    emulator.evict()
    assert chat.keep_alive().actual.read == 0
    emulator.clock.advance(minutes(20))
    chat.send("more")

    assert chat.turns[1].actual.read > 0
    assert proof(chat) == Proof()


class TestWhereAnHourLapsesWithWhatItStandsOn:
    @pytest.fixture
    def emulator(self) -> Emulator:
        return Emulator(Settings(mixed_ttl="lapses"), clock=VirtualClock(START))

    def test_the_trial_ends_upgrades(self, opened, emulator):
        chat = on_trial(opened, emulator)
        emulator.clock.advance(TELLS_AFTER)
        chat.keep_alive()

        assert proof(chat) == Proof(lost=1)

    def test_what_a_fork_has_kept_alive_proves_nothing(self, opened, emulator):
        chat = on_trial(opened, emulator)
        emulator.clock.advance(minutes(4))
        chat.fork().send("and besides?")
        emulator.clock.advance(minutes(1.5))
        chat.keep_alive()

        assert not proof(chat).holds


def test_an_upgrade_that_failed_or_was_given_up_leaves_the_trial_to_another(opened, emulator):
    failed, rewound = opened(returning(minutes(50))), on_trial(opened, emulator)
    rewound.rewind(1)
    failed.send("hello")
    emulator.clock.advance(minutes(4.75))
    emulator.fail(Fault(status=529))
    with pytest.raises(APIStatusError):
        failed.keep_alive()

    assert proof(rewound) == proof(failed) == Proof()


def test_an_upgrade_that_a_turn_has_overtaken_leaves_the_trial_to_another(opened, emulator):
    chat = opened(returning(minutes(50)))
    chat.send("hello")
    emulator.clock.advance(minutes(4.75))
    with chat._state.keeping_warm() as warming:
        chat.send("more")

    assert warming.action == "upgrade"
    assert proof(chat) == Proof()


def test_an_upgrade_is_not_tried_if_it_could_not_be_read_again(opened, emulator):
    budget = Budget(per_pause=Decimal("0.03"))
    keeper = Keeper(budget, habits=returning(minutes(50)), clock=emulator.clock.now)
    keeper.pause()
    chat = opened(keeper.habits, keeper=keeper)
    chat.send("hello")

    assert chat.decision.action != "upgrade"


def test_after_an_upgrade_that_did_not_hold_there_is_no_other(opened, emulator):
    chat = opened(returning(minutes(50)))
    chat.send("hello")
    emulator.clock.advance(minutes(4.75))
    chat.keep_alive()
    emulator.evict()
    emulator.clock.advance(minutes(20))
    chat.send("more")
    emulator.clock.advance(minutes(4.75))

    assert chat.decision.action != "upgrade"


def test_after_a_tool_call_there_is_no_upgrade(opened, emulator):
    chat = opened(returning(minutes(50)), tools=[TOOL])
    emulator.script(reply(call("a")))
    chat.send("hello")
    assert chat.decision.action != "upgrade"


def test_a_keep_alive_that_writes_what_should_have_been_warm_is_the_last(opened, emulator):
    chat = opened(returning(minutes(9)))
    chat.send("hello")
    emulator.clock.advance(minutes(4.75))
    emulator.evict()
    turn = chat.keep_alive()

    assert turn.actual.read == 0
    assert chat.decision.action == "lapse"


def test_what_is_spent_in_a_pause_stays_below_the_rewrite_that_is_avoided(opened, emulator):
    chat = opened(returning(minutes(55)), policy=Policy(ttl="5m"), tools=[TOOL])
    emulator.script(reply(call("a")))
    chat.send("hello")
    spent = Decimal(0)
    for _ in range(30):
        if chat.decision.due is None:
            break
        emulator.clock.advance(chat.decision.due - emulator.clock.now())
        spent += chat.keep_alive().costs.paid

    tokens = chat.turns[0].actual.cached
    assert spent <= tokens * Decimal("5.75") / 1_000_000


KEYED = {
    "a thinking budget": ({"thinking": {"type": "enabled", "budget_tokens": 1_024}, "max_tokens": 2_000}, "claude-opus-4-5"),
    "an output format": ({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object", "additionalProperties": False}}}}, MODEL),
    "a forced tool": ({"tool_choice": {"type": "any"}, "tools": [TOOL]}, MODEL),
}  # fmt: skip


@pytest.mark.parametrize("what", KEYED)
def test_what_a_keep_alive_would_have_to_change_is_left_to_lapse(opened, what):
    fields, model = KEYED[what]
    chat = opened(returning(minutes(9)), model=model, **fields)
    chat.send("hello")
    assert chat.decision.action == "lapse"


def test_a_stream_rests_while_it_is_read(opened, emulator):
    chat = opened(returning(minutes(9)), policy=Policy(ttl="5m"))
    chat.send("hello")
    with chat.stream("more") as stream:
        stream.until_done()
        assert chat.decision.due is not None
    assert chat.decision.due is not None


def test_a_stream_that_outlives_its_entry_is_kept_alive_too(opened, emulator, events):
    chat = opened(returning(minutes(9)), policy=Policy(ttl="5m"))
    with chat.stream("tell me all") as stream:
        next(stream)
        emulator.clock.advance(minutes(4.75))
        turn = chat.keep_alive()
        stream.until_done()

    assert turn.actual.read == chat.turns[0].actual.cached
    assert chat.messages[-1]["role"] == "assistant"
    # It counts for the pause that follows: whether it paid is told with the next turn.
    assert not happened(events, WarmthEnded)
    emulator.clock.advance(minutes(3))
    chat.send("more")
    (ended,) = happened(events, WarmthEnded)
    assert (ended.sent, ended.paid) == (1, True)


def test_the_end_of_a_final_turn_is_not_written(opened, emulator):
    chat = opened(returning(minutes(9)), system="Be brief.")
    chat.send("a long question " * 3_000, final=True)
    assert chat.turns[0].actual.written == 0


def test_a_conversation_that_will_not_go_on_does_not_pay_a_write(opened, emulator):
    chat = opened(gone(), system="Be brief.")
    chat.send("a long question " * 3_000)
    assert chat.turns[0].actual.written == 0


def test_without_a_keeper_an_application_that_pauses_writes_for_an_hour(client, emulator):
    """Nobody keeps it alive: five minutes would be written again in every turn."""
    chat = Conversation(client, model=MODEL, max_tokens=500, system=LONG, clock=emulator.clock.now)
    chat._state.pauses.habits = returning(minutes(9))
    for _ in range(3):
        chat.send("hello")
        emulator.clock.advance(minutes(9))

    assert chat.turns[0].actual.written_1h > 40_000
    assert all(turn.actual.read > 40_000 for turn in chat.turns[1:])


def test_a_closed_keeper_is_none(opened):
    chat = opened(returning(minutes(9)))
    chat._keeper.close()
    chat.send("hello")
    assert chat.turns[0].actual.written_1h > 40_000
    assert chat.decision.action == "lapse"


USELESS = {
    "another system prompt": lambda chat: chat.update(system="Another one."),
    "a rewind": lambda chat: chat.rewind(),
    "an edit": lambda chat: chat.edit(list, when="now"),
    "another model for one turn": lambda chat: chat.send("once", model="claude-opus-4-8"),
    "tools for one turn": lambda chat: chat.send("once", tools=[TOOL]),
    "the last turn": lambda chat: chat.send("bye", final=True),
}


@pytest.mark.parametrize("what", USELESS)
def test_what_the_next_turn_will_not_read_is_not_kept_warm(opened, what):
    chat = opened(returning(minutes(9)), policy=Policy(ttl="5m"))
    chat.send("hello")
    assert chat.decision.action != "lapse"
    USELESS[what](chat)
    assert chat.decision.action == "lapse"
    assert chat.keep_alive() is None


def test_a_turn_that_came_to_nothing_leaves_the_rest_as_it_was(opened, emulator):
    chat = opened(returning(minutes(9)), policy=Policy(ttl="5m"))
    chat.send("hello")
    before = chat.decision
    emulator.fail(Fault(status=500))
    with pytest.raises(InternalServerError):
        chat.send("more")
    assert (chat.decision.action, chat.decision.due) == (before.action, before.due)
    chat.prewarm()
    assert chat.decision.action == before.action


def test_what_is_held_for_an_hour_is_not_paid_for_again(opened):
    """A system prompt held for an hour, and a short tail: keeping that alive saves next to nothing."""
    marked = {"type": "text", "text": LONG, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    chat = opened(returning(minutes(9)), system=[marked], policy=Policy(ttl="5m", own="keep"))
    chat.send("hello")
    assert chat.decision.saving < Decimal("0.001")


def test_a_fork_says_nothing_of_when_its_parent_goes_on(opened, emulator):
    habits = returning(minutes(9))
    chat = opened(habits)
    chat.send("hello")
    seen = habits.rhythm
    emulator.clock.advance(timedelta(seconds=5))
    chat.fork().send("sum it up")
    assert habits.rhythm == seen


def test_no_two_keep_alives_of_a_conversation_are_on_their_way(opened, emulator):
    chat = opened(returning(minutes(9)), policy=Policy(ttl="5m"))
    chat.send("hello")
    with chat._state.keeping_warm() as first, chat._state.keeping_warm() as second:
        assert first is not None
        assert second is None


def test_options_that_would_ask_for_a_reply_are_left_out_of_a_keep_alive(opened, emulator):
    chat = opened(returning(minutes(9)), extra_body={"max_tokens": 300}, timeout=900, policy=Policy(ttl="5m"))
    chat.send("hello")
    emulator.clock.advance(minutes(4.75))
    turn = chat.keep_alive()
    assert (turn.actual.output, emulator.requests[-1].body["max_tokens"]) == (0, 0)


def test_a_declared_lifetime_wins(opened):
    chat = opened(gone(), policy=Policy(ttl="1h"))
    chat.send("hello")
    assert chat.turns[0].actual.written_1h > 40_000


def test_without_evidence_or_a_keeper_the_tail_lives_five_minutes(client, emulator):
    chat = Conversation(client, model=MODEL, max_tokens=50, system=LONG, clock=emulator.clock.now)
    chat.send("hello")
    assert chat.turns[0].actual.written_5m > 40_000


def test_tools_and_system_are_written_before_anybody_speaks(client, emulator):
    chat = Conversation(
        client, model=MODEL, max_tokens=50, system=LONG, tools=[TOOL], clock=emulator.clock.now
    )
    turn = chat.prewarm()
    chat.send("hello")

    assert turn.actual.written > 40_000
    assert chat.turns[0].actual.read == turn.actual.written
    assert len(chat.turns) == 1


def test_a_history_is_written_before_it_goes_on(client, emulator):
    said = [{"role": "user", "content": LONG}, {"role": "assistant", "content": "I have read it."}]
    chat = Conversation(client, model=MODEL, max_tokens=50, messages=said, clock=emulator.clock.now)
    turn = chat.prewarm()
    chat.send("hello")
    assert chat.turns[0].actual.read == turn.actual.cached > 40_000


async def test_the_keeper_of_the_other_colour_is_a_type_error(client, async_client):
    with pytest.raises(TypeError, match="takes Keeper, not AsyncKeeper"):
        Conversation(client, model=MODEL, max_tokens=5, keeper=AsyncKeeper())
    with pytest.raises(TypeError, match="takes AsyncKeeper, not Keeper"):
        AsyncConversation(async_client, model=MODEL, max_tokens=5, keeper=Keeper())


async def test_an_async_conversation_is_kept_alive_the_same_way(async_client, emulator):
    keeper = AsyncKeeper(habits=returning(minutes(9)), clock=emulator.clock.now)
    keeper.pause()
    chat = AsyncConversation(
        async_client, model=MODEL, max_tokens=50, system=LONG, keeper=keeper, clock=emulator.clock.now
    )
    await chat.send("hello")
    emulator.clock.advance(minutes(4.75))
    turn = await chat.keep_alive()
    await keeper.close()

    assert turn.actual.read == chat.turns[0].actual.cached


def test_expired_is_told_from_the_last_time_it_was_kept_alive(opened, emulator):
    chat = opened(returning(minutes(9)))
    chat.send("hello")
    emulator.clock.advance(minutes(4.75))
    chat.keep_alive()
    emulator.clock.advance(minutes(70))
    chat.send("more")
    assert chat.turns[1].miss is Miss.EXPIRED
