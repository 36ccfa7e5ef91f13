"""Tool loops that the SDK runs: each answered request of the loop is a turn of a conversation.

The loop is the SDK's own, with its own copy of the history; a middleware on its client follows what it sends and what
comes back. A shell: what a turn is made of, and what its reply changes, is in `state`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import attrs
from anthropic import APIRequest, APIResponse, AsyncAPIResponse, AsyncCallNext, CallNext, Middleware, NotGiven
from anthropic.lib.streaming import BetaMessageStream

from convcache.books import RATE_LIMITED, REFUSING_STATUSES, left_alone
from convcache.core.blocks import Json
from convcache.core.transcript import Transcript
from convcache.core.usage import UsageMeter
from convcache.core.wire import in_json
from convcache.pending import Pending
from convcache.request import Reply
from convcache.state import ConversationState
from convcache.taps import derived, tapped


class TurnsOf(Middleware):
    """Makes each request of a tool runner a turn of a conversation."""

    def __init__(
        self, state: ConversationState, *, handed: Sequence[Json], sent: Sequence[Json], besides: Json
    ) -> None:
        """Follow a loop for `state`.

        Args:
            state: The conversation's.
            handed: The tools the runner was given to run: it would send all of them.
            sent: Those that belong in the request; others came in by a message.
            besides: What its requests have besides their bodies: betas and headers.
        """
        self._state, self._besides = state, besides
        self._handed, self._sent = list(handed), list(sent)
        self._since = state.transcript

    def handle(self, request: APIRequest, call_next: CallNext) -> APIResponse[Any]:
        """Pass a request on as a turn; see `anthropic.Middleware`."""
        turn = self._turn(request)
        if turn is None:
            return call_next(request)
        while (leader := self._state.ahead_of(turn.pending)) is not None:
            self._state.waited(turn.pending, leader.wait(self._state.patience(turn.pending)))
        with left_alone(), turn.letting_go():
            response = call_next(turn.request)
            if turn.may_be_refused(response) and turn.gives_up(said := response.read()):
                response = call_next(turn.request)
                turn.refused(response, said)
        turn.response = response.http_response
        if not response.http_response.is_success:
            turn.failed(response)
        elif not request.stream:
            turn.answered(json.loads(response.read()))
        return response

    async def handle_async(self, request: APIRequest, call_next: AsyncCallNext) -> AsyncAPIResponse[Any]:
        """Pass a request on as a turn; see `anthropic.Middleware`."""
        turn = self._turn(request)
        if turn is None:
            return await call_next(request)
        while (leader := self._state.ahead_of(turn.pending)) is not None:
            waited = await leader.wait_async(self._state.patience(turn.pending))
            self._state.waited(turn.pending, waited)
        with left_alone(), turn.letting_go():
            response = await call_next(turn.request)
            if turn.may_be_refused(response) and turn.gives_up(said := await response.read()):
                response = await call_next(turn.request)
                turn.refused(response, said)
        turn.response = response.http_response
        if not response.http_response.is_success:
            turn.failed(response)
        elif not request.stream:
            turn.answered(json.loads(await response.read()))
        return response

    def _turn(self, request: APIRequest) -> "_Turn | None":
        body = cast("dict[str, Any] | None", request.json)
        if not isinstance(body, dict) or not request.url.split("?")[0].endswith("/v1/messages"):
            return None
        if body.get("tools") == self._handed:
            body = {**body, "tools": self._sent}
        pending = self._state.followed(body, besides=self._besides, since=self._since)
        return _Turn(self._state, request, pending, left=self._left)

    def _left(self, transcript: Transcript) -> None:
        """Where the loop's last turn has left the history."""
        self._since = transcript


@attrs.define
class _Turn:
    """One request of the loop, and what comes back."""

    state: ConversationState
    original: APIRequest
    pending: Pending
    _left: Callable[[Transcript], None]
    meter: UsageMeter = attrs.field(factory=UsageMeter)
    events: list[Any] = attrs.field(factory=list)
    response: Any = None
    is_over: bool = False

    @property
    def request(self) -> APIRequest:
        stream_cls = (
            tapped(self.original.stream_cls, self.feed, self.finish) if self.original.stream else None
        )
        return derived(self.original, body=in_json(self.pending.body), stream_cls=stream_cls)

    @contextmanager
    def letting_go(self) -> Iterator[None]:
        """Whoever waits for this request does so until its reply has begun, or it has failed."""
        try:
            yield
        except BaseException:
            self.state.let_go(self.pending)
            raise

    def may_be_refused(self, response: APIResponse[Any] | AsyncAPIResponse[Any]) -> bool:
        return response.status_code in REFUSING_STATUSES

    def failed(self, response: APIResponse[Any] | AsyncAPIResponse[Any]) -> None:
        if response.status_code == RATE_LIMITED:
            self.state.limited(response.headers)
        self.state.let_go(self.pending)

    def gives_up(self, said: bytes) -> bool:
        return self.state.recovers_from(self.pending, said.decode(errors="replace"))

    def refused(self, response: APIResponse[Any] | AsyncAPIResponse[Any], said: bytes) -> None:
        if response.http_response.is_success:
            self.state.refused(self.pending, said.decode(errors="replace"))

    def answered(self, message: Mapping[str, Any]) -> None:
        """A whole reply."""
        reply = Reply(message["content"], message["stop_reason"], message["usage"])
        self._left(self.state.ended(self.pending, reply=reply))

    def feed(self, event: Any) -> None:
        """Take an event of a stream."""
        self.events.append(event)
        self.meter.feed(event.to_dict(mode="json", warnings=False))
        if event.type == "message_start":
            self.state.begun(self.pending, self.meter.bill)

    def finish(self) -> None:
        """The stream is over, or nobody reads on: then the turn is not kept, but what it cost is known."""
        if self.is_over:
            return
        self.is_over = True
        if self.meter.complete:
            stream = BetaMessageStream(
                cast("Any", _Replay(self.events, self.response)), output_format=NotGiven()
            )
            self._left(self.state.ended(self.pending, reply=Reply.of(stream.get_final_message())))
        elif self.meter.bill is not None:
            self._left(self.state.ended(self.pending, bill=self.meter.bill))
        self.state.let_go(self.pending)


@attrs.frozen
class _Replay:
    """The events of a stream that has passed."""

    events: list[Any]
    response: Any

    def __iter__(self) -> Any:
        return iter(self.events)

    def close(self) -> None:
        pass
