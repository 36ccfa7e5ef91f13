"""What a caller may set on a request, and how the SDK's objects become plain JSON.

Knows the SDK's types; nothing of caching or of conversations.
"""

import base64
import difflib
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypedDict

import attrs
import httpx2
from anthropic.types import (
    DiagnosticsParam,
    Message,
    MessageCountTokensParams,
    MetadataParam,
    OutputConfigParam,
    TextBlockParam,
    ThinkingConfigParam,
    ToolChoiceParam,
    ToolUnionParam,
)
from anthropic.types.beta import (
    BetaCompactionConfigParam,
    BetaContextManagementConfigParam,
    BetaMessage,
    BetaRequestMCPServerURLDefinitionParam,
)
from anthropic.types.beta import MessageCountTokensParams as BetaMessageCountTokensParams
from pydantic import BaseModel


class RequestOptions(TypedDict, total=False):
    """Request fields of `messages.create` that a conversation passes on as they are.

    `betas` sends the request by `client.beta.messages`; the fields that only exist there need it. `cache_control`
    is not among them: placing breakpoints is what a conversation does.
    """

    betas: Iterable[str]
    compaction: BetaCompactionConfigParam
    container: Any
    context_management: BetaContextManagementConfigParam
    diagnostics: DiagnosticsParam
    inference_geo: str
    mcp_servers: Iterable[BetaRequestMCPServerURLDefinitionParam]
    metadata: MetadataParam
    output_config: OutputConfigParam
    service_tier: str
    speed: str
    stop_sequences: Iterable[str]
    thinking: ThinkingConfigParam
    tool_choice: ToolChoiceParam
    user_profile_id: str
    workspace_id: str
    extra_headers: Mapping[str, str]
    extra_query: Mapping[str, object]
    extra_body: Mapping[str, object]
    timeout: float | httpx2.Timeout | None


class TurnOptions(RequestOptions, total=False):
    """What can change from turn to turn: every option, and what the conversation was made with."""

    model: str
    max_tokens: int
    system: str | Iterable[TextBlockParam] | None
    tools: Iterable[ToolUnionParam]


@attrs.frozen
class Reply:
    """What came back, as plain JSON.

    Attributes:
        content: Its blocks.
        stop_reason: Why the model stopped.
        usage: What the API billed.
    """

    content: list[dict[str, Any]]
    stop_reason: str | None
    usage: Mapping[str, Any]

    @classmethod
    def of(cls, message: Message | BetaMessage) -> "Reply":
        """A reply of the SDK."""
        return cls(plain(message.content), message.stop_reason, plain(message.usage))


NOT_IN_THE_BODY = frozenset({"betas", "extra_headers", "extra_query", "extra_body", "timeout"})

ONLY_WITH_BETAS = frozenset({"compaction", "context_management", "mcp_servers"})


def checked(options: Mapping[str, Any], allowed: type[RequestOptions]) -> dict[str, Any]:
    """The options as plain JSON, with the system prompt as blocks.

    Raises:
        TypeError: An option has a name that is not known here.
    """
    if not options:
        return {}
    names = allowed.__annotations__.keys() | RequestOptions.__annotations__.keys()
    for name in sorted(options.keys() - names):
        raise TypeError(f"unexpected keyword argument {name!r}{_hint(name, names)}")
    for name in sorted({"model", "max_tokens"} & options.keys()):
        if options[name] is None:
            raise TypeError(f"{name} cannot be None")
    return {
        name: value if name in NOT_IN_THE_BODY - {"betas"} else _field(name, value)
        for name, value in options.items()
    }


def _hint(name: str, names: Iterable[str]) -> str:
    if name in _HINTS:
        return f"; {_HINTS[name]}"
    near = difflib.get_close_matches(name, [*names, "policy", "clock", "messages"], n=1)
    return f"; did you mean {near[0]!r}?" if near else "; fields that are not known here go in extra_body"


_HINTS = {
    "cache_control": "a conversation places breakpoints itself, see Policy",
    "stream": "use .stream(...)",
}


def _field(name: str, value: Any) -> Any:
    # The system prompt goes out as blocks from the first turn on: only a block can carry a breakpoint.
    if name == "system" and isinstance(value, str):
        return [{"type": "text", "text": value}] if value else None
    if name == "tools":
        return definitions(value or ())
    return plain(value)


def plain(value: Any) -> Any:  # noqa: PLR0911 - a row for each kind of value
    """SDK objects as the plain JSON that the API takes back: a message as role and content, blocks as received, a
    file as its bytes in base64."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    # A dict and a list are told from others much faster than a model is.
    if isinstance(value, dict):
        return {key: item if isinstance(item, str) else plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, BaseModel):
        return _plain_model(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (os.PathLike, io.IOBase)):
        return base64.b64encode(_bytes_of(value)).decode()
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return [plain(item) for item in value]
    return value


def _bytes_of(file: os.PathLike[str] | io.IOBase) -> bytes:
    if isinstance(file, os.PathLike):
        return Path(file).read_bytes()
    content: str | bytes = file.read()
    return content.encode() if isinstance(content, str) else content


def _plain_model(model: BaseModel) -> Any:
    fields = vars(model)
    if fields.get("type") == "message" and "content" in fields:
        return {"role": fields.get("role", "assistant"), "content": plain(fields["content"])}
    return model.model_dump(mode="json", by_alias=True, exclude_unset=True, warnings=False)


def is_beta(request: Mapping[str, Any]) -> bool:
    """Whether a request goes by `client.beta.messages`."""
    return request.get("betas") is not None


CLEARING_BETA = "mid-conversation-system-clear-at-2026-08-21"
INLINE_TOOLS_BETA = "inline-tools-2026-09-15"


def needed_betas(messages: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The betas that messages of the system's belong to."""
    needed = set[str]()
    for message in messages:
        if message["role"] == "system":
            if message.get("clear_at"):
                needed.add(CLEARING_BETA)
            blocks = (block for block in message["content"] if isinstance(block, Mapping))
            if any(block.get("type") in {"tool_addition", "tool_removal"} for block in blocks):
                needed.add(INLINE_TOOLS_BETA)
    return frozenset(needed)


def with_betas(request: dict[str, Any], betas: Iterable[str]) -> dict[str, Any]:
    """The request with these betas besides its own, by the route that it takes anyhow."""
    if not betas:
        return request
    if is_beta(request):
        return {**request, "betas": [*request["betas"], *sorted(set(betas) - set(request["betas"]))]}
    headers = dict(request.get("extra_headers") or {})
    name = next((name for name in headers if name.lower() == "anthropic-beta"), "anthropic-beta")
    headers[name] = ",".join(filter(None, (headers.get(name), *sorted(betas))))
    return {**request, "extra_headers": headers}


def definitions(tools: Iterable[Any]) -> list[dict[str, Any]]:
    """Tools as the API takes them: plain ones, and those that the SDK can run."""
    return [tool.to_dict() if is_runnable(tool) else plain(tool) for tool in tools]


def is_runnable(tool: object) -> bool:
    """Whether the SDK's tool runner can run this: a `@beta_tool` function or a toolset."""
    return hasattr(tool, "to_dict") and not isinstance(tool, BaseModel)


def countable(request: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request that `count_tokens` takes."""
    params = BetaMessageCountTokensParams if is_beta(request) else MessageCountTokensParams
    names = params.__annotations__.keys() | NOT_IN_THE_BODY - {"betas"}
    return {name: value for name, value in request.items() if name in names}


def besides_the_body(request: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request that do not go into its body."""
    return {name: request[name] for name in NOT_IN_THE_BODY - {"extra_body"} if name in request}


def is_given(name: str, value: Any) -> bool:
    """Whether an option says something: `None` takes a field away, but a timeout of `None` is no timeout."""
    return name == "timeout" or (value is not None and value != [])


def check_route(request: Mapping[str, Any]) -> None:
    """Only the beta route takes some fields.

    Raises:
        TypeError: One of them is given without `betas`.
    """
    if not ONLY_WITH_BETAS.isdisjoint(request) and not is_beta(request):
        name = min(ONLY_WITH_BETAS & request.keys())
        raise TypeError(f"{name} needs betas=[...] to name the beta it belongs to")


def as_sent(request: dict[str, Any]) -> dict[str, Any] | None:
    """A request with its `extra_body` merged, as it reaches the API; `None` if that replaces what is planned."""
    extra = request.get("extra_body")
    if not extra:
        return request
    if extra.keys() & {"messages", "system", "tools"}:
        return None
    return {**request, **extra}


def without_top_level_mark(body: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a planned request without a top-level breakpoint in `extra_body`: the tail carries one."""
    extra = body.get("extra_body") or {}
    if "cache_control" not in extra:
        return body
    return {**body, "extra_body": {name: value for name, value in extra.items() if name != "cache_control"}}
