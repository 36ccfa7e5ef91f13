"""What is on its way for a conversation: a turn, or what keeps it warm while it rests."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs

from convcache.core.events import Turn
from convcache.core.planner import Plan
from convcache.core.refresh import Action
from convcache.core.transcript import Transcript
from convcache.gate import Leader
from convcache.resting import Rest


@attrs.define
class Pending:
    """A turn in flight.

    Attributes:
        request: The request as the conversation's fields and history make it, without our breakpoints.
        transcript: The history that the turn goes on from.
        began: When the turn began.
        started: When its request is sent: later, if it waited for another one.
        body: The arguments of `messages.create`: the request, with the planned breakpoints.
        plan: What was planned, unless planning failed or the plan was refused.
        leader: Its place at the head of those that share a cold prefix, while it has one.
        turn: The booking, once there is one.
        is_final: Whether no other turn will come.
        waited: How long it has waited for others.
        rested: How the conversation rested before it.
        besides: What its request has besides its body, where that is a loop's of somebody else's.
        base: The history of the conversation when such a loop sent it.
    """

    request: dict[str, Any]
    transcript: Transcript
    began: datetime
    started: datetime = attrs.field(default=attrs.Factory(lambda self: self.began, takes_self=True))
    body: dict[str, Any] = attrs.field(default=attrs.Factory(lambda self: self.request, takes_self=True))
    plan: Plan | None = None
    leader: Leader | None = None
    turn: Turn | None = None
    is_final: bool = False
    waited: timedelta = timedelta(0)
    rested: Rest | None = None
    besides: Mapping[str, Any] = attrs.field(factory=dict)
    base: Transcript | None = None

    @property
    def whole(self) -> dict[str, Any]:
        """The request with what it has besides its body."""
        return {**self.besides, **self.request} if self.besides else self.request

    @property
    def only_prewarms(self) -> bool:
        """Whether it asks for no reply."""
        return self.request.get("max_tokens") == 0


@attrs.frozen
class Warming:
    """A keep-alive or an upgrade on its way.

    Attributes:
        rest: The rest it belongs to.
        action: Which of both.
        pending: Its request.
    """

    rest: Rest
    action: Action
    pending: Pending
