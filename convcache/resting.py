"""A conversation between two requests: what it holds in the cache, and what keeping it warm would cost and save."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import attrs

from convcache.core.blocks import Json, Ttl, as_blocks
from convcache.core.clock import TTL, CacheClock
from convcache.core.events import WarmthEnded
from convcache.core.planner import Plan
from convcache.core.proof import TELLS_AFTER
from convcache.core.refresh import LAPSE, Caution, Decision, Idle, decide
from convcache.core.usage import Usage
from convcache.habits import Habits, Track

KEEP_ALIVE_TIMEOUT: Final = 30.0
"""Seconds that a keep-alive may take. It is not tried again: the next request of the conversation finds out."""

_FORCED: Final = frozenset({"any", "tool"})


@attrs.define(eq=False, kw_only=True)
class Rest:
    """What is known of a conversation that rests.

    Attributes:
        request: The request that is repeated to keep it warm, without breakpoints.
        plan: Its plan.
        started: When its last request of its own started.
        track: What it has shown of its rhythm.
        tokens: The prefix that its tail's entry holds.
        ttl: How long that entry lives after each use.
        expires: When it lapses.
        reply: Tokens that an upgrade to an hour would write; `None` where there can be none.
        first_ttl: How long it lived to begin with.
        sent: How many keep-alives and upgrades were sent.
        spent: Dollars spent on them.
        hour_tokens: A shorter prefix that is held for an hour.
        hour_expires: When that one lapses.
        upgraded: When it was upgraded, if it was.
        base: The digest of what was upgraded.
        trying: When an upgrade was begun that is on its way.
        used: When what it holds was used last, by anybody.
        is_sending: Whether a keep-alive or an upgrade is on its way.
        is_over: Whether it rests no more: its next request is on its way, or it cannot be kept warm.
    """

    request: dict[str, Any]
    plan: Plan
    started: datetime
    track: Track
    tokens: int
    ttl: Ttl
    expires: datetime
    reply: int | None = None
    first_ttl: Ttl = attrs.field(default=attrs.Factory(lambda self: self.ttl, takes_self=True))
    sent: int = 0
    spent: Decimal = Decimal(0)
    hour_tokens: int = 0
    hour_expires: datetime | None = None
    upgraded: datetime | None = None
    base: bytes | None = None
    trying: datetime | None = None
    used: datetime = attrs.field(default=attrs.Factory(lambda self: self.started, takes_self=True))
    is_sending: bool = False
    is_over: bool = False

    @classmethod
    def of(
        cls,
        request: dict[str, Any],
        plan: Plan | None,
        warm: CacheClock,
        track: Track,
        *,
        started: datetime,
        reply: int | None = None,
    ) -> "Rest | None":
        """How a conversation rests after a request; `None` if it holds nothing, or cannot be kept warm.

        Args:
            request: The request, without breakpoints.
            plan: Its plan.
            warm: What is believed cached since.
            track: What it has shown of its rhythm.
            started: When the request started.
            reply: Tokens that an upgrade would write, if one is possible.
        """
        tail = None if plan is None else plan.tail
        entry = None if tail is None else warm.warm(tail.digest, started)
        if plan is None or entry is None or not can_be_repeated(request):
            return None
        hour = None
        for point in plan.breakpoints[:-1]:
            held = warm.warm(point.node.digest, started)
            if held is not None and held.ttl == "1h" and (hour is None or held.tokens > hour.tokens):
                hour = held
        return cls(
            hour_tokens=0 if hour is None or entry.ttl == "1h" else hour.tokens,
            hour_expires=None if hour is None or entry.ttl == "1h" else hour.expires,
            request=request,
            plan=plan,
            started=started,
            track=track,
            tokens=entry.tokens,
            ttl=entry.ttl,
            expires=entry.expires,
            reply=reply,
        )

    def decision(
        self, habits: Habits, caution: Caution, at: datetime, *, allowance: Decimal | None = None
    ) -> Decision:
        """What to do about it, and when. More than a rewrite costs, or than is allowed, is never spent in a pause."""
        prices, pause = self.plan.prompt.model.prices, self.track.pause
        if self.is_over or prices is None or pause is None:
            return LAPSE
        if caution.upgrades and not habits.may_upgrade(self.model, at):
            caution = attrs.evolve(caution, upgrades=False)
        most = self.rewrite if allowance is None else min(self.rewrite, allowance)
        gaps = habits.gaps(pause.moment, self.track.own)
        idle = self._idle(habits)
        decision = decide(idle, gaps, prices, at=at, caution=caution)
        if decision.action == "upgrade" and not habits.holds(self.model):
            # One on trial is read again: without that it would tell nothing.
            again = decision.cost + idle.tokens * prices.read / 1_000_000
            ends = at + TTL["5m"] + TELLS_AFTER - self.started
            if self.spent + again > most or ends > caution.longest:
                without = attrs.evolve(caution, upgrades=False)
                decision = decide(idle, gaps, prices, at=at, caution=without)
        if decision.due is None or self.spent + decision.cost > most:
            return LAPSE
        return decision

    def _idle(self, habits: Habits) -> Idle:
        return Idle(
            since=self.started,
            tokens=self.tokens,
            ttl=self.ttl,
            expires=self.expires,
            reply=self.reply,
            hour_tokens=self.hour_tokens,
            hour_expires=self.hour_expires,
            is_on_trial=self.upgraded is not None and habits.is_on_trial(self.model, self.upgraded),
        )

    def use(self, warm: CacheClock, at: datetime) -> None:
        """It is about to be used: if it was upgraded, it was used last when it was itself, or when others used what it
        holds."""
        tail = self.plan.tail
        if self.upgraded is None or tail is None:
            return
        entries = [warm.warm(digest, at) for digest in (self.base, tail.digest) if digest is not None]
        used = [entry.expires - TTL[entry.ttl] for entry in entries if entry is not None]
        self.used = max([self.expires - TTL[self.ttl], *used])

    def goes_on_from(self, earlier: "Rest") -> None:
        """It was kept warm before, while its reply was arriving."""
        self.sent, self.spent = earlier.sent, earlier.spent
        self.expires = max(self.expires, earlier.expires)

    def outcome(self, read: int, at: datetime) -> WarmthEnded | None:
        """Whether what was spent on it has paid, now that its next request has read so much; `None` if nothing was."""
        if not self.sent:
            return None
        would_have_lapsed = at >= self.started + TTL[self.first_ttl]
        saved = self.rewrite if self.was_held(read) and would_have_lapsed else Decimal(0)
        return WarmthEnded(self.sent, self.spent, saved)

    def was_held(self, read: int) -> bool:
        """Whether so many tokens are what it held: within an estimate's error."""
        return read >= self.tokens * _NEARLY

    @property
    def model(self) -> str:
        """The id of its model."""
        return str(self.plan.prompt.fields["model"])

    @property
    def rewrite(self) -> Decimal:
        """Dollars that it costs to write it again instead of reading it."""
        prices = self.plan.prompt.model.prices
        return Decimal(0) if prices is None else self.tokens * (prices.write_5m - prices.read) / 1_000_000

    def warmed(self, usage: Usage, cost: Decimal | None, at: datetime, *, is_upgrade: bool) -> None:
        """A keep-alive or an upgrade was answered. One that had to write what should have been warm was the last."""
        self.sent += 1
        self.spent += cost or Decimal(0)
        was_held = self.was_held(usage.read)
        if not was_held:
            self.is_over = True
        if self.hour_expires is not None:
            self.hour_expires = at + TTL["1h"]
        if is_upgrade:
            self.tokens, self.ttl, self.reply = usage.cached, "1h", None
        # What had to be written from its beginning is no upgrade.
        self.upgraded = (at if is_upgrade else self.upgraded) if was_held else None
        self.expires = at + TTL[self.ttl]


_NEARLY: Final = 0.95
"""An estimate's error, not another prefix."""


def can_be_repeated(request: Json) -> bool:
    """Whether the API takes this request with `max_tokens: 0` and nothing else changed (prompt-caching page,
    pre-warming): anything else would be another key."""
    if extra := request.get("extra_body"):
        request = {**request, **extra}
    thinking, choice = request.get("thinking") or {}, request.get("tool_choice") or {}
    return (
        thinking.get("type") != "enabled"
        and not (request.get("output_config") or {}).get("format")
        and not request.get("output_format")
        and choice.get("type") not in _FORCED
        and not request.get("thread")
    )


def speaks(request: Json) -> bool:
    """Whether a person speaks in a request, or only tools."""
    last = request["messages"][-1]
    if last["role"] == "user":
        for block in as_blocks(last["content"]):
            if block.get("type") != "tool_result":
                return True
    return False


def repeated(request: Json) -> dict[str, Any]:
    """The request that reads the same prefix and asks for no reply."""
    kept = {name: value for name, value in request.items() if name not in {"stream", "timeout"}}
    if extra := kept.get("extra_body"):
        kept["extra_body"] = {
            name: value for name, value in extra.items() if name not in {"max_tokens", "stream"}
        }
    return {**kept, "max_tokens": 0}
