"""Message threads: conversations that the API holds between turns, so that a request brings only what is new.

Knows what is held under a response's id, for whom and until when. Must not know prompts, entries or replies.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NoReturn

import attrs

from convcache.emulator.caller import Caller
from convcache.emulator.errors import ApiError
from convcache.emulator.platforms import PLATFORMS
from convcache.emulator.settings import Settings

BETA: Final = "message-threads-2026-08-12"
HELD: Final = timedelta(minutes=5)
"""How long a thread can be continued, from the end of its last response."""

_INHERITED: Final = ("system", "tools")
"""Fields that a request that continues may leave to the thread."""
_FIXED: Final = (*_INHERITED, "model", "output_config")
_BLOCKS_UNDER: Final = frozenset({"content", "source", "tool", "definition", "tool_references"})

Body = Mapping[str, Any]


@attrs.frozen
class _Held:
    """The conversation up to one response."""

    scope: str
    fields: Body
    messages: Sequence[Any]
    expires_at: datetime


@attrs.frozen(kw_only=True)
class Turn:
    """A request with the conversation it continues put before it; most requests are not part of a thread."""

    body: Any
    scope: str = ""
    threaded: bool = False
    previous: str | None = None
    before: Sequence[Any] = ()
    """The messages that were held."""


class Threads:
    """Every conversation held, by the id of the response that ends it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._held: dict[str, _Held] = {}
        self._under_way: dict[str, datetime] = {}
        self._continued: dict[str, datetime] = {}

    def taken_up(self, asked: Any, caller: Caller, at: datetime) -> Turn:
        """The whole request that a thread request stands for.

        Raises:
            ApiError: It cannot be threaded, or there is nothing to continue.
        """
        if not isinstance(asked, Mapping) or asked.get("thread") is None:
            return Turn(body=_without_thread(asked) if isinstance(asked, Mapping) else asked)
        thread = _checked(asked["thread"], caller)
        body = _without_thread(asked)
        self._check_supported(body)
        if thread["type"] == "create":
            return Turn(body=body, scope=caller.scope, threaded=True)
        return self._continuing(body, thread["previous_message_id"], caller, at)

    def expected(self, turn: Turn, until: datetime) -> None:
        """A valid request waits for its response: the thread cannot be continued elsewhere as long."""
        if turn.previous is not None:
            self._under_way[turn.previous] = until

    def check_free(self, turn: Turn, at: datetime) -> None:
        """Of two requests that were let in at once, the second to start is refused."""
        if turn.previous is not None:
            self._check_continued(turn.previous, at)

    def hold(self, turn: Turn, message: Body, *, ends_at: datetime) -> None:
        """Keeps the conversation under the id of the response that has now started."""
        if not turn.threaded:
            return
        if turn.previous is not None:
            self._under_way.pop(turn.previous, None)
            self._continued[turn.previous] = ends_at
        new = [without_marks(each) for each in turn.body["messages"][len(turn.before) :]]
        reply = [{"role": "assistant", "content": message["content"]}] if message["content"] else []
        fields = {name: without_marks(turn.body[name]) for name in _FIXED if name in turn.body}
        messages = [*turn.before, *new, *reply]
        self._held[message["id"]] = _Held(turn.scope, fields, messages, ends_at + HELD)
        self._forget_expired(ends_at)

    def clear(self) -> None:
        for memory in (self._held, self._under_way, self._continued):
            memory.clear()

    def _continuing(self, body: Body, id_: str, caller: Caller, at: datetime) -> Turn:
        held = self._held.get(id_)
        if held is None or held.scope != caller.scope or at >= held.expires_at:
            _refuse(
                "thread_not_found", "No thread state was found for this `previous_message_id`.", status=404
            )
        self._check_continued(id_, at)
        if at < self._under_way.get(id_, at):
            _refuse_in_flight()
        _check_same(body, held.fields)
        whole = {**{name: held.fields[name] for name in _INHERITED if name in held.fields}, **body}
        if isinstance(body.get("messages"), list):
            whole["messages"] = [*held.messages, *body["messages"]]
        return Turn(body=whole, scope=held.scope, threaded=True, previous=id_, before=held.messages)

    def _check_continued(self, id_: str, at: datetime) -> None:
        if id_ not in self._continued:
            return
        if at < self._continued[id_]:
            _refuse_in_flight()
        _refuse(
            "thread_already_continued",
            "This `previous_message_id` has been continued before, which each response can be only once; "
            "continue from the latest response of the thread.",
        )

    def _check_supported(self, body: Body) -> None:
        named = [name for name in self._settings.thread_unsupported if _carries(body, name)]
        if named:
            text = f"thread: cannot be used together with {', '.join(named)}"
            _refuse("thread_unsupported_request", text, unsupported=named)
        marks = _marks(body)
        if self._settings.thread_marks < marks and self._settings.thread_marks == 3:  # noqa: PLR2004 - as documented
            text = (
                "thread: a maximum of 3 blocks with cache_control may be provided when thread is set -- the fourth "
                "marker slot is reserved for the marker the server places on the conversation last cache-eligible "
                f"block. Found {marks}."
            )
            _refuse("thread_unsupported_request", text, unsupported=["cache_control"])

    def _forget_expired(self, at: datetime) -> None:
        """Threads end in the order in which their responses did, nearly; the rest goes with the next ones."""
        for id_ in list(self._held):
            if self._held[id_].expires_at > at:
                return
            del self._held[id_]
            self._continued.pop(id_, None)
            self._under_way.pop(id_, None)


def without_marks(value: Any) -> Any:
    """A copy without the `cache_control` of blocks; what only looks like one, in a tool's input, stays."""
    if isinstance(value, Mapping):
        return {
            key: without_marks(part) if key in _BLOCKS_UNDER else part
            for key, part in value.items()
            if key != "cache_control"
        }
    return [without_marks(part) for part in value] if isinstance(value, list) else value


def _without_thread(asked: Body) -> Body:
    return {key: value for key, value in asked.items() if key != "thread"} if "thread" in asked else asked


def _checked(thread: Any, caller: Caller) -> Body:
    if BETA not in caller.betas or not PLATFORMS[caller.platform].threads:
        raise ApiError("thread: Extra inputs are not permitted")
    match thread:
        case {"type": "create", **extra}:
            _check_extra(extra)
        case {"type": "continue", "previous_message_id": str(), **extra}:
            _check_extra(extra)
        case {"type": "continue", "previous_message_id": _}:
            raise ApiError("thread.continue.previous_message_id: Input should be a valid string")
        case {"type": "continue"}:
            raise ApiError("thread.continue.previous_message_id: Field required")
        case {"type": _}:
            raise ApiError("thread: Input should have the type 'create' or 'continue'")
        case Mapping():
            raise ApiError("thread.type: Field required")
        case _:
            raise ApiError("thread: Input should be a valid dictionary")
    return dict(thread)


def _check_extra(extra: Mapping[Any, Any]) -> None:
    for key in extra:
        raise ApiError(f"thread.{key}: Extra inputs are not permitted")


def _check_same(body: Body, fields: Body) -> None:
    """What a thread was created with is its own for good; `system` and `tools` may be left out."""
    differing = [
        name
        for name in _FIXED
        if without_marks(body.get(name, fields.get(name) if name in _INHERITED else None)) != fields.get(name)
    ]
    if differing:
        text = f"thread: this request is not of the thread it continues; differing field(s): {', '.join(differing)}"
        _refuse("thread_fingerprint_mismatch", text)


def _carries(body: Body, feature: str) -> bool:
    if feature in ("hipaa", "inference_hooks"):
        return True
    return _marks(body) > 0 if feature == "cache_control" else bool(body.get(feature))


def _marks(value: Any) -> int:
    """How many `cache_control` a request has, its own among them."""
    if isinstance(value, list):
        return sum(_marks(part) for part in value)
    if not isinstance(value, Mapping):
        return 0
    inside = (_marks(part) for key, part in value.items() if key in _BLOCKS_UNDER or key in _SECTIONS)
    return (value.get("cache_control") is not None) + sum(inside)


_SECTIONS: Final = ("tools", "system", "messages")


def _refuse_in_flight() -> NoReturn:
    text = "Another request is continuing from this `previous_message_id` and has not finished."
    _refuse("thread_continue_in_flight", text)


def _refuse(code: str, text: str, *, status: int = 400, **more: Any) -> NoReturn:
    raise ApiError(text, status=status, details={"error_code": code, **more})
