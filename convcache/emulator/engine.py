"""The emulated API: a request goes in with the time it arrived, a pending response comes out.

Knows routes, the order of things and the one lock. Must not know sockets nor wait for anything.
"""

import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import attrs

from convcache.emulator import batches, control, models
from convcache.emulator.answers import Answer, Plain, Refusal, Started
from convcache.emulator.batches import Batches
from convcache.emulator.binding import Bindings
from convcache.emulator.cache import Cache, Entry
from convcache.emulator.caller import Caller
from convcache.emulator.chance import Chance
from convcache.emulator.clock import Clock, SystemClock
from convcache.emulator.course import Answering
from convcache.emulator.diagnostics import Diagnostics
from convcache.emulator.errors import ApiError
from convcache.emulator.faults import NO_FAULT, Fault, FaultQueue
from convcache.emulator.limits import InputLimit
from convcache.emulator.log import Record, RequestLog
from convcache.emulator.messages import Messages
from convcache.emulator.prompt import PromptReader
from convcache.emulator.reading import Reader
from convcache.emulator.replies import AttentiveReplies, Replies, ScriptedReplies
from convcache.emulator.replies.signature import token
from convcache.emulator.settings import Settings
from convcache.emulator.threads import Threads
from convcache.emulator.tokens import CountTokens, estimated_tokens
from convcache.emulator.wire import Pending, Request, Response

_MESSAGES = "/v1/messages"
_COUNT = "/v1/messages/count_tokens"
_MODELS = "/v1/models"


class Emulator:
    """The Messages API and its prompt cache, without a socket.

    Args:
        settings: Platform, delays and the choices the documents leave open.
        replies: Who answers when nothing is scripted.
        clock: Tells the time to the shells; the system's if not given.
        count_tokens: Tokens of one block; a quarter of its bytes if not given.
    """

    def __init__(
        self,
        settings: Settings = Settings(),  # noqa: B008 - a value
        *,
        replies: Replies | None = None,
        clock: Clock | None = None,
        count_tokens: CountTokens | None = None,
    ) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.replies = _scriptable(replies or AttentiveReplies(seed=settings.seed))
        self._lock = threading.RLock()
        self._faults = FaultQueue()
        self._log = RequestLog(settings.kept_body_bytes)
        self._cache = Cache(settings)
        self._chance = Chance(settings.seed, miss_rate=settings.best_effort_miss_rate)
        self._served = 0
        counter = count_tokens or estimated_tokens
        reader = Reader(settings, PromptReader(settings, counter))
        self._messages = Messages(
            settings=settings,
            cache=self._cache,
            reader=reader,
            answering=Answering(cache=self._cache, reader=reader, replies=self.replies, count_tokens=counter),
            bindings=Bindings(settings),
            threads=Threads(settings),
            diagnostics=Diagnostics(settings),
            limit=InputLimit(settings.input_tokens_per_minute),
            chance=self._chance,
        )
        self._batches = Batches(self._messages)

    @property
    def requests(self) -> list[Record]:
        """Every request to the API so far, oldest first."""
        with self._lock:
            return list(self._log)

    @property
    def entries(self) -> list[Entry]:
        """What is cached and alive now."""
        with self._lock:
            self._batches.serve(self.clock.now())
            return self._cache.alive(self.clock.now())

    def script(self, *messages: Mapping[str, Any]) -> None:
        """Lets the next requests be answered with these messages, in order."""
        with self._lock:
            self.replies.push(*messages)

    def fail(self, *faults: Fault) -> None:
        """Lets the next Messages requests meet these faults, one each."""
        with self._lock:
            self._faults.add(faults)

    def change(self, *, miss_rate: float | None = None, grace: timedelta | None = None) -> None:
        """Changes the luck of reads from now on.

        Args:
            miss_rate: The share of reads that find nothing, as `Settings.best_effort_miss_rate`.
            grace: How long entries outlive their TTL, as `Settings.grace_after_expiry`.

        Raises:
            ValueError: The rate is no share, or the grace is negative.
        """
        with self._lock:
            wished = Settings(
                best_effort_miss_rate=self._chance.miss_rate if miss_rate is None else miss_rate,
                grace_after_expiry=self._cache.grace if grace is None else grace,
            )
            self._chance.miss_rate, self._cache.grace = (
                wished.best_effort_miss_rate,
                wished.grace_after_expiry,
            )

    def evict(self, *digests: str) -> int:
        """Loses entries before their time, all of them if none is named; tells how many."""
        with self._lock:
            self._batches.serve(self.clock.now())
            return self._cache.evict(digests, self.clock.now())

    def reset(self) -> None:
        """Forgets all that was sent, kept, scripted or asked for; the clock goes on."""
        with self._lock:
            for memory in (self._cache, self._log, self._faults, self._messages, self._batches, self.replies):
                memory.clear()

    def receive(self, request: Request, *, at: datetime) -> Pending:
        """Takes a request in and decides what it will be answered with; nothing is written yet.

        Args:
            request: What arrived.
            at: When it started; TTLs count from here.
        """
        if request.path.startswith(control.PREFIX):
            return Pending(starts_at=at, begin=lambda now: control.answered(self, request, at=now))
        with self._lock:
            self._batches.serve(at)
            request_id = self._logged(request, at)
            fault = self._faults.take() if request.path == _MESSAGES else NO_FAULT
            caller = Caller.of(request, self.settings.platform)
            answer = self._answer(request, caller, fault, at)
        start = partial(self._start, request_id, answer, caller, fault)
        return Pending(starts_at=at + answer.delay + fault.delay, begin=start, dropped=fault.drops)

    def _logged(self, request: Request, at: datetime) -> str:
        self._served += 1
        request_id = "req_" + token("request", self.settings.seed, self._served, length=24)
        self._log.arrived(request_id, at=at, method=request.method, path=request.path, body=request.body)
        return request_id

    def _answer(self, request: Request, caller: Caller, fault: Fault, at: datetime) -> Answer:
        try:
            fault.strike()
            self._admit(request)
            return self._routed(request, caller, at)
        except ApiError as error:
            return Refusal(error)

    def _admit(self, request: Request) -> None:
        if not request.headers.get("x-api-key") and not request.headers.get("authorization"):
            raise ApiError("x-api-key header is required", status=401)
        if len(request.body) > self.settings.max_request_bytes:
            raise ApiError("Request exceeds the maximum size", status=413)

    def _routed(self, request: Request, caller: Caller, at: datetime) -> Answer:
        match request.method, request.path.rstrip("/"):
            case "POST", path if path == _MESSAGES:
                return self._messages.received(request, caller, at)
            case "POST", path if path == _COUNT:
                return self._messages.counted(request, caller)
            case _, path if path == batches.PATH or path.startswith(f"{batches.PATH}/"):
                return self._batches.received(request, caller, at)
            case "GET", path if path == _MODELS:
                return Plain(models.listed())
            case "GET", path if path.startswith(f"{_MODELS}/"):
                return Plain(models.one(path.removeprefix(f"{_MODELS}/")))
            case _, path if path in (_MESSAGES, _COUNT, _MODELS):
                raise ApiError("Method Not Allowed", status=405)
        raise ApiError("Not Found", status=404)

    def _start(self, request_id: str, answer: Answer, caller: Caller, fault: Fault, at: datetime) -> Response:
        with self._lock:
            started = _started(answer, request_id, at)
            response = attrs.evolve(
                started.response,
                headers={**started.response.headers, **caller.headers, "request-id": request_id},
            )
            response = fault.befall(response, request_id)
            self._log.answered(
                request_id,
                status=response.status,
                usage=started.usage,
                hit=started.hit,
                breakpoints=started.breakpoints,
            )
        return response


def _started(answer: Answer, request_id: str, at: datetime) -> Started:
    try:
        return answer.start(request_id, at)
    except ApiError as error:
        return Refusal(error).start(request_id, at)


def _scriptable(replies: Replies) -> ScriptedReplies:
    return replies if isinstance(replies, ScriptedReplies) else ScriptedReplies(fallback=replies)
