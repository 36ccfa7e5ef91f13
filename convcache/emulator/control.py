"""`/_emulator/...`: looking into the emulator and steering it over HTTP, in plain JSON.

Knows the emulator's public face only. Must not know the API it emulates.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from convcache.emulator.clock import VirtualClock
from convcache.emulator.faults import fault_from
from convcache.emulator.log import Record
from convcache.emulator.wire import Request, Response, json_response

if TYPE_CHECKING:
    from convcache.emulator.engine import Emulator

PREFIX: Final = "/_emulator/"


def answered(emulator: "Emulator", request: Request, *, at: datetime) -> Response:
    """What the emulator says about itself, or does to itself."""
    action = _ACTIONS.get((request.method, request.path.removeprefix(PREFIX)))
    if action is None:
        names = ", ".join(f"{method} {PREFIX}{name}" for method, name in _ACTIONS)
        return _error(f"no such control: {request.method} {request.path}; there are {names}", at, status=404)
    try:
        return json_response(action(emulator, _parsed(request)), at=at)
    except (ValueError, OverflowError) as error:
        return _error(str(error), at)


def _error(message: str, at: datetime, *, status: int = 400) -> Response:
    return json_response({"error": message}, at=at, status=status)


def _parsed(request: Request) -> Mapping[str, Any]:
    body = json.loads(request.body) if request.body else {}
    if not isinstance(body, dict):
        raise ValueError("the body must be a JSON object")  # noqa: TRY004 - what a request says is a value
    return body


def _time(emulator: "Emulator", _body: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"now": emulator.clock.now().isoformat(), "virtual": isinstance(emulator.clock, VirtualClock)}


def _move_time(emulator: "Emulator", body: Mapping[str, Any]) -> Mapping[str, Any]:
    clock = emulator.clock
    if not isinstance(clock, VirtualClock):
        raise ValueError("only a virtual clock can be moved; start the emulator with --virtual-clock")  # noqa: TRY004 - what a request says is a value
    match dict(body):
        case {"advance": int() | float() as seconds, **rest} if not rest and not isinstance(seconds, bool):
            clock.advance(timedelta(seconds=seconds))
        case {"at": str(at), **rest} if not rest:
            clock.set(datetime.fromisoformat(at))
        case _:
            raise ValueError('the body must be {"advance": seconds} or {"at": "an ISO time with its zone"}')
    return _time(emulator, {})


def _requests(emulator: "Emulator", _body: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"requests": [_told(record) for record in emulator.requests]}


def _told(record: Record) -> Mapping[str, Any]:
    usage, hit = record.usage, record.hit
    return {
        "id": record.id,
        "at": record.at.isoformat(),
        "method": record.method,
        "path": record.path,
        "status": record.status,
        "usage": {
            "read": usage.read,
            "written_5m": usage.written_5m,
            "written_1h": usage.written_1h,
            "uncached": usage.uncached,
            "output": usage.output,
        },
        "hit": {"path": hit.path, "digest": hit.digest, "tokens": hit.tokens} if hit else None,
        "breakpoints": [
            {"path": mark.path, "digest": mark.digest, "tokens": mark.tokens, "ttl": mark.ttl}
            for mark in record.breakpoints
        ],
        "body": record.kept_body,
    }


def _entries(emulator: "Emulator", _body: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "entries": [
            {
                "digest": entry.digest,
                "path": entry.path,
                "tokens": entry.tokens,
                "ttl": int(entry.ttl.total_seconds()),
                "expires": entry.expires_at.isoformat(),
            }
            for entry in emulator.entries
        ]
    }


def _script(emulator: "Emulator", body: Mapping[str, Any]) -> Mapping[str, Any]:
    emulator.script(*_list(body, "replies"))
    return {"queued": len(emulator.replies)}


def _fail(emulator: "Emulator", body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Faults of the next requests, and the luck of all reads from now on."""
    if unknown := body.keys() - {"faults", "miss_rate", "grace"}:
        raise ValueError(f"there is no {', '.join(sorted(unknown))}; there are faults, miss_rate and grace")
    faults = [fault_from(value) for value in _list(body, "faults")] if "faults" in body else []
    rate, grace = _number(body, "miss_rate"), _number(body, "grace")
    emulator.change(miss_rate=rate, grace=None if grace is None else timedelta(seconds=grace))
    emulator.fail(*faults)
    return {"queued": len(faults)}


_LARGEST: Final = 1e9


def _number(body: Mapping[str, Any], key: str) -> float | None:
    value = body.get(key)
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _LARGEST
    ):
        raise ValueError(f"{key} must be a number ({value})")
    return value


def _evict(emulator: "Emulator", body: Mapping[str, Any]) -> Mapping[str, Any]:
    if not body:
        return {"evicted": emulator.evict()}
    if body.keys() == {"digest"} and isinstance(body["digest"], str):
        return {"evicted": emulator.evict(body["digest"])}
    raise ValueError('the body must be {"digest": "of one entry"}, or {} for all entries')


def _list(body: Mapping[str, Any], key: str) -> list[Any]:
    values = body.get(key)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise ValueError(f'the body must be {{"{key}": [object, ...]}}')
    return values


def _reset(emulator: "Emulator", _body: Mapping[str, Any]) -> Mapping[str, Any]:
    emulator.reset()
    return {"reset": True}


_ACTIONS: Final[Mapping[tuple[str, str], Callable[["Emulator", Mapping[str, Any]], Mapping[str, Any]]]] = {
    ("GET", "clock"): _time,
    ("POST", "clock"): _move_time,
    ("GET", "requests"): _requests,
    ("GET", "entries"): _entries,
    ("POST", "replies"): _script,
    ("POST", "faults"): _fail,
    ("POST", "evict"): _evict,
    ("POST", "reset"): _reset,
}
