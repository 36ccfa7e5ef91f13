"""The models: minimum cacheable length, what becomes of earlier thinking, and the ids each goes by.

Knows the documents' tables (api-facts sections 4, 7 and 12). Must not know requests or the cache.
"""

import re
from typing import Final

import attrs


@attrs.frozen
class Model:
    """One model as the cache sees it."""

    name: str
    minimum: int
    keeps_thinking: bool = True
    dated: str | None = None
    """The snapshot id that the alias stands for, where there is one."""
    other_ids: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The id responses carry."""
        return self.dated or self.name

    @property
    def display_name(self) -> str:
        words = self.name.removeprefix("claude-").split("-")
        family = [word.capitalize() for word in words if not word.isdigit()]
        return " ".join(["Claude", *family, ".".join(word for word in words if word.isdigit())]).strip()


MODELS: Final = (
    Model("claude-fable-5-2", 512),
    Model("claude-mythos-5-2", 512),
    Model("claude-fable-5-1", 512),
    Model("claude-mythos-5-1", 512),
    Model("claude-fable-5", 512),
    Model("claude-mythos-5", 512),
    Model("claude-mythos-preview", 2048),
    Model("claude-opus-5-5", 512),
    Model("claude-opus-5", 512),
    Model("claude-opus-4-8", 1024),
    Model("claude-opus-4-7", 2048),
    Model("claude-opus-4-6", 4096),
    Model("claude-opus-4-5", 4096, dated="claude-opus-4-5-20251101"),
    Model("claude-opus-4-1", 1024, keeps_thinking=False, dated="claude-opus-4-1-20250805"),
    Model(
        "claude-opus-4",
        1024,
        keeps_thinking=False,
        dated="claude-opus-4-20250514",
        other_ids=("claude-opus-4-0",),
    ),
    Model("claude-sonnet-5-5", 512),
    Model("claude-sonnet-5", 1024),
    Model("claude-sonnet-4-6", 1024),
    Model("claude-sonnet-4-5", 1024, keeps_thinking=False, dated="claude-sonnet-4-5-20250929"),
    Model(
        "claude-sonnet-4",
        1024,
        keeps_thinking=False,
        dated="claude-sonnet-4-20250514",
        other_ids=("claude-sonnet-4-0",),
    ),
    Model("claude-haiku-5-5", 512),
    Model("claude-haiku-4-5", 4096, keeps_thinking=False, dated="claude-haiku-4-5-20251001"),
    Model(
        "claude-haiku-3-5",
        2048,
        keeps_thinking=False,
        dated="claude-3-5-haiku-20241022",
        other_ids=("claude-3-5-haiku-latest", "claude-3-5-haiku"),
    ),
)

_BY_ID: Final = {
    id_: model for model in MODELS for id_ in (model.name, model.dated, *model.other_ids) if id_ is not None
}

_PLATFORM_FORM: Final = re.compile(
    r"^(?:[a-z]{2,6}\.)?anthropic\.(?P<id>claude-[a-z0-9-]+?)(?:-v\d+(?::\d+)?)?$"
)


def find_model(id_: str) -> Model | None:
    """The model that an id names: alias, dated id, or the form a cloud platform gives it."""
    platform_form = _PLATFORM_FORM.match(id_)
    plain = platform_form["id"] if platform_form else id_.replace("@", "-")
    return _BY_ID.get(plain)
