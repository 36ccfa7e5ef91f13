"""What has room in a request: the fields of every parameter and block, derived from the SDK's own types.

The one module that imports the SDK, once, when the first request is checked. Knows forms, not what they are for.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Required, Union, get_args, get_origin, get_type_hints

import attrs

HEADERS: Final = frozenset({"betas", "user_profile_id", "workspace_id"})
"""Arguments of the SDK that travel as headers; in a body they are unknown."""
DROPPED: Final = frozenset({"temperature", "top_p", "top_k", "output_format"})
"""Parameters the SDK no longer has and the API still knows, for the models that have them."""

_KINDS: Final[Mapping[Any, tuple[type, ...]]] = {
    str: (str,),
    int: (int,),
    float: (int, float),
    bool: (bool,),
    dict: (dict,),
}


@attrs.frozen(eq=False)
class Field:
    """One field of a shape."""

    annotation: Any
    required: bool

    @cached_property
    def form(self) -> "Form":
        return form_of(self.annotation)

    @cached_property
    def nullable(self) -> bool:
        return NoneType in get_args(self.annotation)

    @cached_property
    def choices(self) -> Sequence[str]:
        """The only strings that may stand here, if anything but them is refused."""
        members = list(_members(self.annotation))
        return _literals(self.annotation) if all(get_origin(member) is Literal for member in members) else ()


@attrs.frozen(eq=False)
class Shape:
    """An object with known fields, and the `type` that tells it from others."""

    tag: str | None
    fields: Mapping[str, Field]

    def told_as(self, tag: str | None) -> "Shape":
        """The same shape under another of its types."""
        return self if tag in (None, self.tag) else attrs.evolve(self, tag=tag)

    @cached_property
    def required(self) -> Mapping[str, Field]:
        return {name: field for name, field in self.fields.items() if field.required and name != "type"}


@attrs.frozen(eq=False)
class Form:
    """What may stand somewhere: an object of one of several shapes, a list, or something plain."""

    shapes: Mapping[str | None, Shape] = attrs.field(factory=dict)
    items: "Form | None" = None
    plain: tuple[type, ...] | None = ()
    """The JSON types of plain values; `None` if anything goes."""

    def has_room_for(self, value: Any) -> bool:
        """Whether a plain value may stand here, or an object that is not looked into."""
        return self.plain is None or type(value) in self.plain

    @property
    def tags(self) -> list[str]:
        return [tag for tag in self.shapes if tag]

    def shape_of(self, value: Mapping[str, Any]) -> Shape | None:
        tag, untyped = value.get("type"), self.shapes.get(None)
        if tag is None or (untyped and untyped.tag is None):
            return untyped
        return self.shapes.get(tag) if isinstance(tag, str) else None


@cache
def request() -> Shape:
    """A request to `/v1/messages`, all betas taken together."""
    from anthropic.types import message_create_params  # noqa: PLC0415 - slow to import, and not always asked
    from anthropic.types.beta import message_create_params as beta_params  # noqa: PLC0415 - slow to import, and not always asked

    forms = [shape_of(module.MessageCreateParamsBase) for module in (message_create_params, beta_params)]
    fields = {name: field for form in forms for name, field in form.fields.items() if name not in HEADERS}
    apart = {name: Field(Any, required=False) for name in (*DROPPED, "stream")}
    return Shape(None, {**fields, **apart})


@cache
def messages() -> Mapping[str, Shape]:
    """A message, by its role."""
    from anthropic.types import beta  # noqa: PLC0415 - slow to import, and not always asked

    return {
        "user": shape_of(beta.BetaUserMessageParam),
        "assistant": shape_of(beta.BetaAssistantMessageParam),
        "system": shape_of(beta.BetaSystemMessageParam),
    }


@cache
def content(role: str) -> Form:
    """The blocks that may stand in a message of a role; the role `prompt` stands for the system prompt."""
    from anthropic.types import TextBlockParam  # noqa: PLC0415 - slow to import, and not always asked

    if role == "prompt":
        return form_of(Iterable[TextBlockParam])
    return form_of(messages()[role].fields["content"].annotation)


@cache
def tools() -> Form:
    from anthropic.types.beta import BetaToolUnionParam  # noqa: PLC0415 - slow to import, and not always asked

    return form_of(BetaToolUnionParam)


@cache
def form_of(annotation: Any) -> Form:
    """What an annotation allows."""
    members = list(_members(annotation))
    shapes = {tag: shape.told_as(tag) for shape in _shapes(members) for tag in _tags(shape)}
    lists = [get_args(member)[0] for member in members if _is_list(member)]
    kinds = [_kinds(member) for member in members if not _is_typed_dict(member) and not _is_list(member)]
    plain = None if None in kinds else tuple(kind for some in kinds for kind in some or ())
    is_open = plain is None or dict in plain
    return Form({} if is_open else shapes, form_of(Union[tuple(lists)]) if lists else None, plain)  # noqa: UP007 - of a tuple


def _kinds(annotation: Any) -> tuple[type, ...] | None:
    """The JSON types of a plain annotation; `None` for anything."""
    if get_origin(annotation) is Literal:
        return tuple({type(value) for value in get_args(annotation)})
    return _KINDS.get(get_origin(annotation) or annotation)


def _shapes(members: Iterable[Any]) -> Iterator[Shape]:
    return (shape_of(member) for member in members if _is_typed_dict(member))


def _is_typed_dict(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, dict) and hasattr(annotation, "__total__")


def _is_list(annotation: Any) -> bool:
    origin = get_origin(annotation)
    return isinstance(origin, type) and issubclass(origin, Iterable) and not issubclass(origin, Mapping)


@cache
def shape_of(typed_dict: Any) -> Shape:
    hints = get_type_hints(typed_dict, include_extras=True)
    fields = {name: Field(_bare(hint), required=get_origin(hint) is Required) for name, hint in hints.items()}
    tags = _literals(fields["type"].annotation) if "type" in fields else []
    return Shape(tags[0] if tags else None, fields)


def _tags(shape: Shape) -> Sequence[str | None]:
    """The types by which a shape is known; none at all if it may be left out."""
    if shape.tag is None:
        return [None]
    tags = _literals(shape.fields["type"].annotation)
    return tags if shape.fields["type"].required else [*tags, None]


def _members(annotation: Any) -> Iterator[Any]:
    """The members of a union; without the SDK's models of responses, whose fields a request repeats."""
    if get_origin(annotation) is Annotated:
        yield from _members(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    elif annotation is not NoneType and not hasattr(annotation, "model_fields"):
        yield annotation


def _literals(annotation: Any) -> list[str]:
    return [
        value
        for member in _members(annotation)
        if get_origin(member) is Literal
        for value in get_args(member)
    ]


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Required else hint
