"""Policies on made-up traffic: what each costs, and that none is cheaper than foresight."""

import json
from datetime import timedelta

import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from convcache.core.refresh import CREDIT
from convcache.terminal.compare import Terms, compared, parsed
from convcache.terminal.play import Play
from convcache.terminal.policies import Adaptive, Rhythm
from convcache.terminal.traffic import Corpus, corpus
from tests.traces import asked, billed, proxied

ALL = parsed("none,automatic,automatic-1h,5m+1,5m+2,5m+12,adaptive,adaptive-no-upgrade,clairvoyant")
MINUTE = 60.0

gaps = st.one_of(st.floats(1, 250), st.floats(250, 700), st.floats(700, 4_000), st.floats(3_000, 90_000))
paces = st.lists(gaps, max_size=8).map(lambda each: [sum(each[:n]) for n in range(len(each) + 1)])
rows = st.lists(st.tuples(paces, st.sampled_from(["billed", "proxied", "cut"])), min_size=1, max_size=4)


def traffic(made) -> Corpus:
    return corpus("made", "".join(json.dumps(row) + "\n" for row in made).encode())


def mixed(threads) -> Corpus:
    """Threads of people, of tools, and some whose prompt is cut in the middle."""
    parts = []
    for number, (times, kind) in enumerate(threads):
        if kind == "proxied":
            parts += traffic(proxied(times)).conversations
            continue
        made = billed(times, thread=str(number), repo=f"repo {number % 2}")
        for row in made[2:4] if kind == "cut" else ():
            row["prompt"] -= 900
        parts += traffic(made).conversations
    return Corpus(name="mixed", fingerprint="", conversations=tuple(parts))


def percents(made: Corpus, names=ALL, **terms) -> dict[str, float]:
    return compared(made, names, Terms(**terms)).percents()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(rows, st.sampled_from([0.1, 0.05, 0.025]), st.sampled_from(["stands", "lapses"]))
@example([([0, 1.0, 2.0], "cut")], 0.1, "stands")  # the middle request is written by all but foresight
def test_no_policy_costs_less_than_foresight(threads, read_price, mixed_ttl):
    costs = percents(mixed(threads), read_price=read_price, mixed_ttl=mixed_ttl)

    assert costs["clairvoyant"] <= min(costs.values()) * (1 + 1e-9)
    assert costs["none"] == pytest.approx(100)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(1, 290), min_size=1, max_size=12))
def test_where_no_pause_exceeds_five_minutes_adaptive_is_automatic(pauses):
    times = [sum(pauses[:n]) for n in range(len(pauses) + 1)]

    costs = percents(traffic(billed(times)))

    assert costs["adaptive"] == costs["adaptive-no-upgrade"] == costs["automatic"]


def test_a_fixed_policy_costs_what_the_prices_say():
    twice = traffic(billed([0, 6 * MINUTE]))

    costs = percents(twice, ["automatic", "automatic-1h", "5m+1"])

    uncached = 20_000 + 20_500
    assert costs["automatic"] == pytest.approx(100 * 1.25)
    assert costs["automatic-1h"] == pytest.approx(100 * (2 * 20_000 + 0.1 * 20_000 + 2 * 500) / uncached)
    kept_alive = 1.25 * 20_000 + 2 * 0.1 * 20_000 + 1.25 * 500
    # The last request is kept alive, too, and nobody comes.
    assert costs["5m+1"] == pytest.approx(100 * (kept_alive + 0.1 * 20_500) / uncached)


def test_foresight_upgrades_before_a_long_pause_and_writes_nothing_at_the_end():
    tallies = compared(traffic(billed([0, 60, 40 * MINUTE])), ["clairvoyant"], Terms()).tallies["clairvoyant"]

    (tally,) = tallies.values()

    writes = 20_000 * 1.25 + 0.1 * 20_000 + min(1.25 * 500 + 0.1 * 20_500 + 2 * 400, 2 * 500)
    assert tally.keep_alives == tally.upgrades == 0
    assert tally.percent == pytest.approx(100 * (writes + 0.1 * 20_500 + 500) / (20_000 + 20_500 + 21_000))


def steady(pause: float, conversations: int = 30, turns: int = 6) -> Corpus:
    """Conversations one after another, with the same pause in all of them."""
    made = []
    for number in range(conversations):
        began = number * 1_000.0
        made += billed([began + n * pause for n in range(turns)], thread=str(number))
    return traffic(made)


def test_adaptive_learns_to_bridge_the_pauses_that_people_make():
    costs = percents(steady(20 * MINUTE))

    assert costs["adaptive"] < 0.75 * costs["automatic"]
    assert costs["adaptive"] < 0.8 * costs["adaptive-no-upgrade"]


def test_adaptive_stops_upgrading_once_an_hour_is_seen_not_to_stand_by_itself():
    played = compared(steady(20 * MINUTE), ["adaptive"], Terms(mixed_ttl="lapses"))

    (tally,) = played.tallies["adaptive"].values()

    assert tally.upgrades <= 3


def test_adaptive_finds_out_that_an_hour_holds_though_nobody_has_come_back_yet():
    """Ten conversations that fall idle for ever, a minute apart, where people usually come back after half an hour."""
    made = [
        row for name in range(10) for row in billed([name * 60.0 + n for n in range(20)], thread=str(name))
    ]
    prior = Rhythm()
    for _ in range(200):
        prior = prior.after("settled", timedelta(minutes=30))

    policy = Adaptive(prior)
    for _ in Play(traffic(made), policy).run():
        pass

    assert policy.proof.holds


def test_who_has_seen_all_other_conversations_pays_less_than_who_learns_on_the_way():
    once = [(name, [name * 20.0]) for name in range(1, 200)]
    back = [(name, [name * 20.0, name * 20.0 + 1_200]) for name in range(200, 220)]

    costs = percents(traffic(asked(*once, *back)), ["adaptive", "experienced", "clairvoyant"])

    assert costs["clairvoyant"] < costs["experienced"] < costs["adaptive"]


def test_experience_of_a_single_conversation_says_nothing_of_it():
    """It knows all the others, and there is none."""
    costs = percents(traffic(billed([0, 20 * MINUTE, 40 * MINUTE])), ["experienced", "clairvoyant"])

    assert costs["clairvoyant"] < costs["experienced"]


def test_adaptive_stops_writing_what_nobody_reads():
    once = traffic(asked(*((name, [name * 20.0]) for name in range(1, 400))))

    costs = percents(once, ["automatic", "adaptive", "adaptive-no-upgrade"])

    assert costs["automatic"] == pytest.approx(125)
    assert costs["adaptive"] < 115
    assert costs["adaptive-no-upgrade"] < 115


@pytest.mark.parametrize("read_price", [0.1, 0.05, 0.025])
def test_staying_warm_never_puts_adaptive_far_behind(read_price):
    gone = traffic(
        [row for name in range(40) for row in billed([name * 90.0, name * 90.0 + 9], thread=str(name))]
    )

    costs = percents(gone, ["automatic", "adaptive", "adaptive-no-upgrade"], read_price=read_price)

    assert max(costs.values()) <= costs["automatic"] * (1 + CREDIT)


def chosen(made: Corpus) -> dict[tuple[str, int], str | None]:
    """The lifetimes that adaptive chose, by conversation and place."""
    seen = {}

    class Watched(Adaptive):
        def lifetime(self, chat, request, prices):
            ttl = super().lifetime(chat, request, prices)
            seen[chat.recorded.repository, chat.number, chat.place + 1] = ttl
            return ttl

    for _ in Play(made, Watched(Rhythm())).run():
        pass
    return seen


def test_what_is_decided_does_not_depend_on_what_comes_later():
    whole = steady(20 * MINUTE)
    until = whole.conversations[12].requests[0].at
    cut = [
        attrs.evolve(each, requests=kept)
        for each in whole.conversations
        if (kept := tuple(request for request in each.requests if request.at <= until))
    ]

    before = chosen(attrs.evolve(whole, conversations=tuple(cut)))

    assert before.items() <= chosen(whole).items()
    assert set(chosen(whole).values()) > {"5m"}


def test_the_same_traffic_costs_the_same_every_time():
    assert percents(steady(7 * MINUTE)) == percents(steady(7 * MINUTE))


def test_only_the_first_requests_of_a_repository_are_counted_if_asked():
    made = steady(MINUTE)

    (tally,) = compared(made, ["automatic"], Terms(first=7)).tallies["automatic"].values()

    assert tally.requests == 7
    assert (
        timedelta(seconds=MINUTE)
        == made.conversations[0].requests[1].at - made.conversations[0].requests[0].at
    )
