"""What the requests of a conversation have besides their messages: one value, another one after each change."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Self

import attrs

from convcache.core.catalog import model
from convcache.request import RequestOptions, TurnOptions, checked, definitions, is_given, is_runnable

_OF_NO_KEY: Final = frozenset(
    {"betas", "extra_headers", "max_tokens", "messages", "metadata", "stop_sequences", "stream", "timeout"}
)
"""Arguments that are no part of the cache's key."""


@attrs.frozen
class Fields:
    """The fields of all turns.

    Attributes:
        values: By name, as plain JSON. What is `None` is not sent.
        runnable: Those of the tools that the SDK can run, by their names.
        sent: Those of the values that are sent.
        of_key: Those of them that are part of the cache's key.
    """

    values: Mapping[str, Any]
    runnable: Mapping[str, Any]
    sent: Mapping[str, Any] = attrs.field(
        init=False, default=attrs.Factory(lambda self: given(self.values), takes_self=True)
    )

    of_key: Mapping[str, Any] = attrs.field(
        init=False, default=attrs.Factory(lambda self: _of_the_key(self.sent), takes_self=True)
    )

    @classmethod
    def of(cls, fields: Mapping[str, Any], options: Mapping[str, Any]) -> Self:
        """Those that a conversation is made with.

        Raises:
            TypeError: An option has a name that is not known here.
        """
        values = {**checked(fields, TurnOptions), **checked(options, RequestOptions)}
        return cls(values, _by_name(fields["tools"]))

    @property
    def takes_system(self) -> bool:
        """Whether the model takes messages of the system's in mid-conversation."""
        return model(self.values["model"]).takes_system

    @property
    def tools(self) -> Sequence[Any]:
        """The tools."""
        return self.values.get("tools") or ()

    @property
    def has_shown_tools(self) -> bool:
        """Whether there are tools in the prompt: deferred ones are not."""
        return any(not tool.get("defer_loading") for tool in self.tools)

    def updated(self, options: Mapping[str, Any]) -> Self:
        """With other values for these."""
        values = {**self.values, **checked(options, TurnOptions)}
        return attrs.evolve(self, values=values).knowing(options.get("tools") or ())

    def knowing(self, tools: Iterable[Any]) -> Self:
        """With tools that come in by the way, to be run where the SDK can."""
        return attrs.evolve(self, runnable={**self.runnable, **_by_name(tools)})

    def with_tools(self, tools: Iterable[Any]) -> Self:
        """With more tools."""
        return attrs.evolve(self, values={**self.values, "tools": [*self.tools, *definitions(tools)]})

    def without_tools(self, names: Sequence[str]) -> Self:
        """Without these tools."""
        kept = [tool for tool in self.tools if tool.get("name") not in names]
        return attrs.evolve(self, values={**self.values, "tools": kept})

    def for_turn(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """What is sent in a turn that has these options for itself."""
        return given({**self.values, **checked(options, TurnOptions)}) if options else {**self.sent}

    def to_run(self, tools: Iterable[Any], added: Iterable[str]) -> list[Any]:
        """The tools of a request and those that came in by the way, as what the SDK can run where it can."""
        came_in = [self.runnable[name] for name in added if name in self.runnable]
        return [*(self.runnable.get(tool.get("name"), tool) for tool in tools), *came_in]

    def share_key_with(self, request: Mapping[str, Any]) -> bool:
        """Whether a prompt sent with these fields begins with that of a request, as far as fields make the key."""
        return _of_the_key(request) == self.of_key


def are_of_the_key(names: Iterable[str]) -> bool:
    """Whether one of these fields is part of the cache's key."""
    return not _OF_NO_KEY.issuperset(names)


def _of_the_key(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in _OF_NO_KEY}


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that say something."""
    return {name: value for name, value in fields.items() if is_given(name, value)}


def _by_name(tools: Iterable[Any]) -> dict[str, Any]:
    """Those of the tools that the SDK can run."""
    return {str(tool.to_dict().get("name")): tool for tool in tools if is_runnable(tool)}
