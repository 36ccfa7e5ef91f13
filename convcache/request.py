"""What a caller may set on a request, and how the SDK's objects become plain JSON.

Knows the SDK's types; nothing of caching or of conversations.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

import httpx2
from anthropic.types import (
    DiagnosticsParam,
    MessageCountTokensParams,
    MetadataParam,
    OutputConfigParam,
    TextBlockParam,
    ThinkingConfigParam,
    ToolChoiceParam,
    ToolUnionParam,
)
from anthropic.types.beta import (
    BetaContextManagementConfigParam,
    BetaRequestMCPServerURLDefinitionParam,
)
from anthropic.types.beta import MessageCountTokensParams as BetaMessageCountTokensParams
from pydantic import BaseModel


class RequestOptions(TypedDict, total=False):
    """Request fields of `messages.create` that a conversation passes on as they are.

    `betas` sends the request by `client.beta.messages`, as do the fields that only exist there. `cache_control` is
    not among them: placing breakpoints is what a conversation does.
    """

    betas: Iterable[str]
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


NOT_IN_THE_BODY = frozenset({"betas", "extra_headers", "extra_query", "extra_body", "timeout"})


def checked(options: Mapping[str, Any], allowed: type[RequestOptions]) -> dict[str, Any]:
    """The options as plain JSON, with the system prompt as blocks.

    Raises:
        TypeError: An option has a name that is not known here.
    """
    names = allowed.__annotations__.keys() | RequestOptions.__annotations__.keys()
    for name in options.keys() - names:
        hint = " (a conversation places breakpoints itself; see Policy)" if name == "cache_control" else ""
        raise TypeError(f"unexpected keyword argument {name!r}{hint}")
    return {
        name: value if name in NOT_IN_THE_BODY else _field(name, value) for name, value in options.items()
    }


def _field(name: str, value: Any) -> Any:
    # The system prompt goes out as blocks from the first turn on: only a block can carry a breakpoint.
    if name == "system" and isinstance(value, str):
        return [{"type": "text", "text": value}] if value else None
    return plain(value)


def plain(value: Any) -> Any:
    """SDK objects as the plain JSON that the API takes back: a message as role and content, blocks as received."""
    if isinstance(value, BaseModel):
        return _plain_model(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return [plain(item) for item in value]
    return value


def _plain_model(model: BaseModel) -> Any:
    if getattr(model, "type", None) == "message" and hasattr(model, "content"):
        return {"role": getattr(model, "role", "assistant"), "content": plain(model.content)}
    return model.model_dump(mode="json", by_alias=True, exclude_unset=True, warnings=False)


def is_beta(request: Mapping[str, Any]) -> bool:
    """Whether a request goes by `client.beta.messages`."""
    return request.get("betas") is not None


def countable(request: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request that `count_tokens` takes."""
    params = BetaMessageCountTokensParams if is_beta(request) else MessageCountTokensParams
    names = params.__annotations__.keys() | NOT_IN_THE_BODY - {"betas"}
    return {name: value for name, value in request.items() if name in names}
