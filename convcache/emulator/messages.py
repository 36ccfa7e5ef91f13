"""`POST /v1/messages` and `/v1/messages/count_tokens`: a valid request billed on arrival, answered when it starts.

Knows how prompt, cache and replies come together in a message. Must not know routes, faults or shells.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import attrs

from convcache.emulator import sse
from convcache.emulator.accepted import Accepted
from convcache.emulator.answers import Plain, Started
from convcache.emulator.binding import Bindings
from convcache.emulator.bodies import Bodies
from convcache.emulator.cache import Bill, Cache
from convcache.emulator.caller import Caller
from convcache.emulator.chance import Chance
from convcache.emulator.course import Answering, Course, Iteration
from convcache.emulator.diagnostics import Diagnostics, Fingerprint
from convcache.emulator.errors import ApiError
from convcache.emulator.limits import InputLimit
from convcache.emulator.log import Hit, Usage
from convcache.emulator.prompt import Step
from convcache.emulator.reading import Reader, Reading
from convcache.emulator.replies.signature import token
from convcache.emulator.rules import accepted
from convcache.emulator.server_tools import as_pieces, requests_made
from convcache.emulator.settings import Settings
from convcache.emulator.threads import Threads, Turn
from convcache.emulator.wire import Chunk, Request, Response, json_response

Tier = Literal["standard", "batch"]

_STREAM_HEADERS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}


@attrs.frozen(kw_only=True)
class Messages:
    """Everything that messages need, in one place."""

    settings: Settings
    cache: Cache
    reader: Reader
    answering: Answering
    bindings: Bindings
    threads: Threads
    diagnostics: Diagnostics
    limit: InputLimit
    chance: Chance
    bodies: Bodies = attrs.field(factory=Bodies)

    def received(self, request: Request, caller: Caller, at: datetime) -> "MessageAnswer":
        return self.answer(self._parsed(request.body), caller, at)

    def answer(self, asked: Any, caller: Caller, at: datetime, *, tier: Tier = "standard") -> "MessageAnswer":
        """What a parsed request will be answered with.

        Raises:
            ApiError: It is refused; then nothing has changed.
        """
        turn = self.threads.taken_up(asked, caller, at)
        valid = accepted(turn.body, settings=self.settings, caller=caller)
        verdict = self.bindings.checked(valid, caller)
        reading = self.reader.read(valid, caller, dropped=verdict.dropped)
        fingerprint = self.diagnostics.fingerprint(valid, caller, at)
        bill = self.cache.bill(
            reading.steps,
            reading.breakpoints,
            tail=self.settings.residual_tail_tokens,
            at=at,
            missed=self.chance.strikes(self._miss_rate(tier)),
        )
        headers = self.limit.admit(valid.model.name, bill) if tier == "standard" else {}
        self.threads.expected(turn, at + self.settings.first_token_delay)
        return MessageAnswer(
            api=self,
            valid=valid,
            reading=reading,
            transformations=verdict.transformations,
            bill=bill,
            hit=_hit(reading.steps, bill),
            turn=turn,
            fingerprint=fingerprint,
            tier=tier,
            headers=headers,
        )

    def clear(self) -> None:
        """Forgets what it keeps about earlier requests besides the cache."""
        for memory in (self.bindings, self.threads, self.diagnostics, self.limit, self.chance, self.bodies):
            memory.clear()

    def counted(self, request: Request, caller: Caller) -> Plain:
        valid = accepted(self._parsed(request.body), counting=True, settings=self.settings, caller=caller)
        reading = self.reader.read(valid, caller, dropped=self.bindings.checked(valid, caller).dropped)
        tail = self.settings.residual_tail_tokens
        counted: dict[str, Any] = {"input_tokens": reading.tokens + tail}
        if valid.body.get("context_management"):
            counted["context_management"] = {"original_input_tokens": reading.original_tokens + tail}
        return Plain(counted)

    def _parsed(self, body: bytes) -> Any:
        try:
            return self.bodies.parsed(body)
        except (ValueError, RecursionError) as error:
            raise ApiError(f"The request body is not valid JSON: {error}") from error

    def _miss_rate(self, tier: Tier) -> float:
        return 1 - self.settings.batch_hit_rate if tier == "batch" else self.chance.miss_rate


@attrs.frozen(kw_only=True)
class MessageAnswer:
    """A message that waits to be begun; until then nothing is written and no reply is used up."""

    api: Messages
    valid: Accepted
    reading: Reading
    transformations: Sequence[Mapping[str, Any]] | None
    bill: Bill
    hit: Hit | None
    turn: Turn
    fingerprint: Fingerprint | None
    tier: Tier
    headers: Mapping[str, str]

    @property
    def delay(self) -> timedelta:
        return self.api.settings.first_token_delay

    def start(self, request_id: str, at: datetime) -> Started:
        message, usage = self.begun(request_id, at)
        streamed = self.valid.body.get("stream")
        response = self._streamed(message, at) if streamed else json_response(message, at=at)
        self.api.threads.hold(self.turn, message, ends_at=response.chunks[-1].at)
        response = attrs.evolve(response, headers={**response.headers, **self.headers})
        return Started(response=response, usage=usage, hit=self.hit, breakpoints=self.bill.breakpoints)

    def begun(self, request_id: str, at: datetime) -> tuple[dict[str, Any], Usage]:
        """The message and its bill, once everything that follows from its beginning is done.

        Raises:
            ApiError: Its thread was continued by another request meanwhile.
        """
        self.api.threads.check_free(self.turn, at)
        body, diagnostics = self.valid.body, self.api.diagnostics
        course = self.api.answering.run(self.reading, self.bill)
        message = self._message("msg_" + token("message", request_id, length=24), course)
        answer = as_pieces(course.reply.content, len(body["messages"]))
        self.api.bindings.issued(self.valid.pieces, answer)
        message["diagnostics"] = diagnostics.diagnosed(body, self.fingerprint, at)
        diagnostics.remember(message["id"], self.fingerprint, at)
        return message, course.billed

    def _message(self, id_: str, course: Course) -> dict[str, Any]:
        reply = course.reply
        managed = self.valid.body.get("context_management")
        edits = {"context_management": {"applied_edits": list(self.reading.applied_edits)}} if managed else {}
        told = self.transformations
        transformed = {} if told is None else {"input_transformations": list(told)}
        return {
            "id": id_,
            "type": "message",
            "role": "assistant",
            "model": self.valid.model.id,
            "content": list(reply.content),
            "stop_reason": reply.stop_reason,
            "stop_sequence": reply.stop_sequence,
            "stop_details": None,
            "usage": course_on_the_wire(course, self.tier),
            **edits,
            **transformed,
        }

    def _streamed(self, message: Mapping[str, Any], at: datetime) -> Response:
        delay = self.api.settings.chunk_delay
        chunks = (
            Chunk(at + number * delay, sse.encoded(event)) for number, event in enumerate(sse.events(message))
        )
        return Response(status=200, headers=_STREAM_HEADERS, chunks=tuple(chunks))


def course_on_the_wire(course: Course, tier: Tier = "standard") -> dict[str, Any]:
    """Usage as a message carries it: the sum, and what it is the sum of where the model was asked repeatedly."""
    used = requests_made(course.reply.content)
    return {
        **usage_on_the_wire(course.usage),
        "service_tier": tier,
        **({"server_tool_use": used} if used else {}),
        **({"iterations": [_told(iteration) for iteration in course.iterations]} if course.is_told else {}),
    }


def _told(iteration: Iteration) -> dict[str, Any]:
    return {"type": iteration.kind, **usage_on_the_wire(iteration.usage)}


def usage_on_the_wire(usage: Usage) -> dict[str, Any]:
    """What one time of asking, or all together, took."""
    return {
        "input_tokens": usage.uncached,
        "cache_creation_input_tokens": usage.written,
        "cache_read_input_tokens": usage.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.written_5m,
            "ephemeral_1h_input_tokens": usage.written_1h,
        },
        "output_tokens": usage.output,
    }


def _hit(steps: Sequence[Step], bill: Bill) -> Hit | None:
    if bill.hit is None:
        return None
    step = steps[bill.reach]
    return Hit(step.path, step.digest, step.tokens)
