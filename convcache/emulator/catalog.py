"""The models: minimum cacheable length, what becomes of earlier thinking, what each refuses, the ids each goes by.

Knows the documents' tables (api-facts sections 4, 7 and 12). Must not know requests or the cache.
"""

import re
from typing import Final

import attrs

_EFFORTS: Final = ("low", "medium", "high", "max")


@attrs.frozen
class Model:
    """One model as the cache and the rules see it."""

    name: str
    minimum: int
    keeps_thinking: bool = True
    dated: str | None = None
    """The snapshot id that the alias stands for, where there is one."""
    other_ids: tuple[str, ...] = ()
    retired: bool = False
    """Answers recorded requests, but is not listed."""
    can: frozenset[str] = frozenset()
    """What it can do that others refuse, in the words below."""
    default_effort: str = "high"

    @property
    def id(self) -> str:
        """The id responses carry."""
        return self.dated or self.name

    @property
    def display_name(self) -> str:
        words = self.name.removeprefix("claude-").split("-")
        family = [word.capitalize() for word in words if not word.isdigit()]
        return " ".join(["Claude", *family, ".".join(word for word in words if word.isdigit())]).strip()

    @property
    def efforts(self) -> tuple[str, ...]:
        return (*_EFFORTS, "xhigh") if EXTRA_EFFORT in self.can else _EFFORTS

    @property
    def default_thinking(self) -> str:
        """What leaving `thinking` out means: off where it can be off."""
        return "disabled" if NOT_THINKING in self.can else "adaptive"


SYSTEM_MESSAGES: Final = "system messages"
"""Messages of the role `system` in the middle of a conversation (G9)."""
TURN_EFFORT: Final = "effort per turn"
"""`output_config.effort` on such a message (G11)."""
BINDING: Final = "thinking bound to its prefix"
"""Thinking is accepted back only behind the prefix it was made for (G5)."""
NOT_THINKING: Final = "not thinking"
"""`thinking.type: disabled` (G6)."""
BETWEEN_TOOLS: Final = "thinking between tools"
FORCED_TOOLS: Final = "forced tools"
"""`tool_choice` of type `any` or `tool` (G6)."""
PREFILL: Final = "prefill"
"""A conversation that ends with the beginning of the answer."""
SAMPLING: Final = "sampling parameters"
"""`temperature`, `top_p` and `top_k` (I6)."""
EXTRA_EFFORT: Final = "effort xhigh"

_OLD: Final = frozenset({NOT_THINKING, FORCED_TOOLS, PREFILL, SAMPLING})
_FOUR_SIX: Final = _OLD - {PREFILL}
_FOUR_SEVEN: Final = _FOUR_SIX - {SAMPLING} | {EXTRA_EFFORT}
_FOUR_EIGHT: Final = _FOUR_SEVEN | {SYSTEM_MESSAGES}
_OPUS_5: Final = _FOUR_EIGHT | {TURN_EFFORT}
_FABLE_5: Final = _FOUR_EIGHT - {NOT_THINKING}
_BOUND: Final = frozenset({EXTRA_EFFORT, SYSTEM_MESSAGES, TURN_EFFORT, BINDING})


def _old(name: str, minimum: int, dated: str, *other_ids: str, retired: bool = False) -> Model:
    """A model before 4.6: it forgets its thinking and lets the answer be begun for it."""
    return Model(
        name, minimum, keeps_thinking=False, dated=dated, other_ids=other_ids, retired=retired, can=_OLD
    )


_ALL: Final = (
    Model("claude-fable-5-2", 512, can=_BOUND),
    Model("claude-mythos-5-2", 512, can=_BOUND),
    Model("claude-fable-5-1", 512, can=_BOUND),
    Model("claude-mythos-5-1", 512, can=_BOUND),
    Model("claude-fable-5", 512, can=_FABLE_5),
    Model("claude-mythos-5", 512, can=_FABLE_5),
    Model("claude-mythos-preview", 2048, can=_FOUR_SEVEN - {NOT_THINKING}),
    Model("claude-opus-5-5", 512, can=_BOUND),
    Model("claude-opus-5", 512, can=_OPUS_5),
    Model("claude-opus-4-8", 1024, can=_FOUR_EIGHT),
    Model("claude-opus-4-7", 2048, can=_FOUR_SEVEN),
    Model("claude-opus-4-6", 4096, can=_FOUR_SIX),
    Model("claude-opus-4-5", 4096, dated="claude-opus-4-5-20251101", can=_OLD),
    _old("claude-opus-4-1", 1024, "claude-opus-4-1-20250805"),
    _old("claude-opus-4", 1024, "claude-opus-4-20250514", "claude-opus-4-0"),
    Model("claude-sonnet-5-5", 512, can=_BOUND | {BETWEEN_TOOLS}),
    Model("claude-sonnet-5", 1024, can=_FOUR_SEVEN),
    Model("claude-sonnet-4-6", 1024, can=_FOUR_SIX),
    _old("claude-sonnet-4-5", 1024, "claude-sonnet-4-5-20250929"),
    _old("claude-sonnet-4", 1024, "claude-sonnet-4-20250514", "claude-sonnet-4-0"),
    Model("claude-haiku-5-5", 512, can=_FOUR_SEVEN),
    _old("claude-haiku-4-5", 4096, "claude-haiku-4-5-20251001"),
    _old(
        "claude-haiku-3-5", 2048, "claude-3-5-haiku-20241022", "claude-3-5-haiku-latest", "claude-3-5-haiku"
    ),
    _old("claude-sonnet-3-7", 1024, "claude-3-7-sonnet-20250219", "claude-3-7-sonnet-latest", retired=True),
    _old(
        "claude-sonnet-3-5",
        1024,
        "claude-3-5-sonnet-20241022",
        "claude-3-5-sonnet-20240620",
        "claude-3-5-sonnet-latest",
        retired=True,
    ),
    _old("claude-opus-3", 1024, "claude-3-opus-20240229", "claude-3-opus-latest", retired=True),
    _old("claude-haiku-3", 2048, "claude-3-haiku-20240307", retired=True),
    _old("claude-2-1", 2048, "claude-2.1", retired=True),
)

MODELS: Final = tuple(model for model in _ALL if not model.retired)
"""The models on offer."""

_BY_ID: Final = {
    id_: model for model in _ALL for id_ in (model.name, model.dated, *model.other_ids) if id_ is not None
}

_PLATFORM_FORM: Final = re.compile(
    r"^(?:[a-z]{2,6}\.)?anthropic\.(?P<id>claude-[a-z0-9-]+?)(?:-v\d+(?::\d+)?)?$"
)


def find_model(id_: str) -> Model | None:
    """The model that an id names: alias, dated id, or the form a cloud platform gives it."""
    platform_form = _PLATFORM_FORM.match(id_)
    plain = platform_form["id"] if platform_form else id_.replace("@", "-")
    return _BY_ID.get(plain)
