"""Cache diagnostics: where a request first differs from an earlier one that asked to be remembered.

Knows requests as fingerprints: digests and sizes, part by part. Must not know entries, TTLs or what was read.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import attrs

from convcache.emulator.accepted import Accepted
from convcache.emulator.caller import Caller
from convcache.emulator.errors import ApiError
from convcache.emulator.platforms import PLATFORMS
from convcache.emulator.prompt import canonical
from convcache.emulator.settings import Settings
from convcache.emulator.tokens import BYTES_PER_TOKEN

REMEMBERED: Final = timedelta(hours=1)
"""How long a fingerprint is kept; the documents say "a short period"."""

_OTHER_PARAMETERS: Final = (
    "thinking",
    "tool_choice",
    "context_management",
    "output_config",
    "output_format",
    "compaction",
    "container",
    "mcp_servers",
)
"""What shapes a prompt besides its blocks: a difference cannot be placed, so the diagnosis is `unavailable`."""

Reason = Mapping[str, Any]


class Part(NamedTuple):
    """One block as it is remembered: what it was, not what it said."""

    digest: bytes
    size: int


@attrs.frozen(kw_only=True)
class Fingerprint:
    """A request reduced to what is compared."""

    scope: str
    model: tuple[str, str]
    tools: tuple[Part, ...]
    system: tuple[Part, ...]
    messages: tuple[Part, ...]
    other: str
    expires_at: datetime

    def missed(self, section: str, reach: int) -> int:
        """Tokens from a divergence to the end of the request, by size."""
        parts: list[Part] = [part for name in _FROM[section] for part in getattr(self, name)]
        return -(-sum(part.size for part in parts[reach:]) // BYTES_PER_TOKEN)


_FROM: Final[Mapping[str, Sequence[str]]] = {
    "model": ("tools", "system", "messages"),
    "tools": ("tools", "system", "messages"),
    "system": ("system", "messages"),
    "messages": ("messages",),
}


class Diagnostics:
    """Remembers the requests that carry the object, and compares."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[str, Fingerprint] = {}

    def fingerprint(self, valid: Accepted, caller: Caller, at: datetime) -> Fingerprint | None:
        """What is remembered of a request, if it asks to be.

        Raises:
            ApiError: The object is none of the API's.
        """
        if valid.body.get("diagnostics") is None:
            return None
        _check(valid.body["diagnostics"], caller)
        return Fingerprint(
            scope=caller.scope,
            model=(valid.model.name, str(valid.body.get("speed") or "standard")),
            tools=self._parts(valid, "tools"),
            system=self._parts(valid, "system"),
            messages=self._parts(valid, "messages"),
            other=_other(valid.body, caller),
            expires_at=at + REMEMBERED,
        )

    def diagnosed(
        self, body: Mapping[str, Any], now: Fingerprint | None, at: datetime
    ) -> Mapping[str, Any] | None:
        """The `diagnostics` of a response: nothing to say, a reason, or not known yet."""
        id_ = (body.get("diagnostics") or {}).get("previous_message_id")
        if now is None or id_ is None:
            return None
        before = self._known.get(id_)
        if before is None or before.scope != now.scope or at >= before.expires_at:
            return {"cache_miss_reason": {"type": "previous_message_not_found"}}
        if self._settings.diagnostics == "pending":
            return {"cache_miss_reason": None}
        reason = _difference(before, now)
        return {"cache_miss_reason": reason} if reason else None

    def remember(self, message_id: str, fingerprint: Fingerprint | None, at: datetime) -> None:
        """Keeps a fingerprint under the id of the response, and lets the oldest go."""
        if fingerprint is None:
            return
        self._known[message_id] = fingerprint
        for id_ in list(self._known):
            if self._known[id_].expires_at > at:
                return
            del self._known[id_]

    def clear(self) -> None:
        self._known.clear()

    def _parts(self, valid: Accepted, section: str) -> tuple[Part, ...]:
        return tuple(
            self._part(piece.role, piece.block)
            for piece in valid.pieces
            if piece.section == section and not (section == "tools" and piece.block.get("defer_loading"))
        )

    def _part(self, role: str, block: Mapping[str, Any]) -> Part:
        written = f"{role}\n{canonical(block, self._settings)}".encode("utf-8", "surrogatepass")
        return Part(blake2b(written, digest_size=16).digest(), len(written))


def _check(diagnostics: Any, caller: Caller) -> None:
    if not PLATFORMS[caller.platform].diagnostics:
        raise ApiError("diagnostics: Extra inputs are not permitted")
    if not isinstance(diagnostics, Mapping):
        raise ApiError("diagnostics: Input should be a valid dictionary")
    for key in diagnostics:
        if key != "previous_message_id":
            raise ApiError(f"diagnostics.{key}: Extra inputs are not permitted")
    if not isinstance(diagnostics.get("previous_message_id"), str | None):
        raise ApiError("diagnostics.previous_message_id: Input should be a valid string")


def _difference(before: Fingerprint, now: Fingerprint) -> Reason | None:
    """The earliest one in prompt order; a model that differs comes before all."""
    if before.model != now.model:
        return _changed("model", before, 0)
    for section in ("tools", "system"):
        reach = _common(getattr(before, section), getattr(now, section))
        if getattr(before, section) != getattr(now, section):
            return _changed(section, before, reach)
    if before.other != now.other:
        return {"type": "unavailable"}
    reach = _common(before.messages, now.messages)
    return _changed("messages", before, reach) if reach < len(before.messages) else None


def _changed(section: str, before: Fingerprint, reach: int) -> Reason:
    missed = before.missed(section, reach)
    return {"type": f"{section}_changed", "cache_missed_input_tokens": missed}


def _common(before: Sequence[Part], now: Sequence[Part]) -> int:
    """How many parts both begin with."""
    return next(
        (index for index, (one, other) in enumerate(zip(before, now, strict=False)) if one != other),
        min(len(before), len(now)),
    )


def _other(body: Mapping[str, Any], caller: Caller) -> str:
    values = [body.get(name) for name in _OTHER_PARAMETERS]
    return repr([values, sorted(caller.betas)])
