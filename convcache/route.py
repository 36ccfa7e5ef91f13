"""How a conversation's request reaches the SDK: as JSON, or, where the history is long, as the bytes it has anyway.

The bytes are put in the place of the JSON inside the SDK, so that authentication, retries, betas, timeouts, streams,
errors and spans are the SDK's own. Wherever somebody else has to see the JSON, it goes as JSON.
"""

from collections.abc import Mapping
from typing import Any, Final, cast

from anthropic import (
    AnthropicBedrock,
    AnthropicBedrockMantle,
    AnthropicVertex,
    APIRequest,
    APIResponse,
    AsyncAnthropicBedrock,
    AsyncAnthropicBedrockMantle,
    AsyncAnthropicVertex,
    AsyncAPIResponse,
    AsyncCallNext,
    CallNext,
    Middleware,
)

from convcache.core.piece import field
from convcache.core.wire import Written, in_json
from convcache.taps import derived

LONG: Final = 40
"""Messages from which on a history goes as bytes; what that saves before is little, and a short chat never pays back what
the first such request costs besides."""

# The first and the last rewrite the body, the one between moves a header into it.
_REWRITES_THE_BODY: Final = (
    AnthropicBedrock,
    AsyncAnthropicBedrock,
    AnthropicBedrockMantle,
    AsyncAnthropicBedrockMantle,
    AnthropicVertex,
    AsyncAnthropicVertex,
)


class Carrier:
    """Makes the clients that carry bytes: one for as long as the client that it is made from stays as it is."""

    def __init__(self) -> None:
        self._made: tuple[dict[str, Any], Any] | None = None

    def made_from(self, client: Any) -> Any:
        """A client that is like this one and carries bytes."""
        made = self._made
        if made is None or made[0] != vars(client):
            self._made = made = dict(vars(client)), client.with_middleware(_InBytes())
        return made[1]


def routed(client: Any, body: dict[str, Any], carrier: Carrier | None) -> tuple[Any, dict[str, Any]]:
    """The client to send a planned request with, and the arguments of its `messages.create`; without a carrier, nothing
    goes as bytes."""
    written = body["messages"]
    if not isinstance(written, Written):
        return client, body
    if carrier is not None and len(written.messages) >= LONG and _takes_bytes(client):
        return carrier.made_from(client), body
    return client, in_json(body)


def _takes_bytes(client: Any) -> bool:
    """Whether nobody between us and the wire has to see the JSON: the platform, a middleware of the user's, or a
    trace that records what is said."""
    if isinstance(client, _REWRITES_THE_BODY):
        return False
    is_traced = client.open_telemetry["traces"]["content_mode"] == "content"
    return not is_traced and all(getattr(one, "takes_bytes", False) for one in client.middleware)


class _InBytes(Middleware):
    """Puts the bytes in the place of the JSON, in every attempt the same."""

    def handle(self, request: APIRequest, call_next: CallNext) -> APIResponse[Any]:
        return call_next(_in_bytes(request))

    async def handle_async(self, request: APIRequest, call_next: AsyncCallNext) -> AsyncAPIResponse[Any]:
        return await call_next(_in_bytes(request))


def _in_bytes(request: APIRequest) -> APIRequest:
    body = request.json
    written = body.get("messages") if isinstance(body, Mapping) else None
    if not isinstance(written, Written):
        return request
    body = cast("Mapping[str, Any]", body)
    try:
        return derived(request, content=_wire(body, written))
    except Exception:  # noqa: BLE001 - an SDK that has no place for bytes takes the JSON
        return derived(request, body=in_json(body))


def _wire(body: Mapping[str, Any], written: Written) -> bytes:
    """The body's bytes, with its fields in their order."""
    fields = [
        field(name) + (b"" if value is written else written.beside(name, value))
        for name, value in body.items()
    ]
    at = list(body).index("messages") + 1
    before, after = b",".join(fields[:at]), b"".join(b"," + field for field in fields[at:])
    return written.wire(b"{" + before, after + b"}")
