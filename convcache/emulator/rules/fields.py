"""Any object of a request against its shape: fields it needs, fields it has no room for, values of the wrong type.

Knows the texts. Must not know what the fields mean; the shapes come from `schema`.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from convcache.emulator.errors import ApiError
from convcache.emulator.schema import Field, Form, Shape

_KIND: Final[Mapping[type, str]] = {
    str: "string",
    list: "list",
    dict: "dictionary",
    int: "integer",
    float: "number",
    bool: "boolean",
}


class Fields:
    """Walks through a request; what is malformed is refused at once, what is superfluous only noted."""

    def __init__(self) -> None:
        self.extras: list[str] = []

    def check_shape(self, value: Mapping[str, Any], shape: Shape, prefix: str = "") -> None:
        for name in shape.required:
            if name not in value:
                raise ApiError(f"{prefix}{name}: Field required")
            self._check_field(value[name], shape.required[name], f"{prefix}{name}")
        for name, part in value.items():
            known = shape.fields.get(name)
            if known is None:
                self.extras.append(f"{prefix}{name}")
            elif part is not None and name != "type" and not known.required:
                self._check_field(part, known, f"{prefix}{name}")

    def check_form(self, value: Any, form: Form, path: str) -> None:
        if isinstance(value, dict) and form.shapes:
            shape = form.shape_of(value) or refuse_tag(value, path, form.tags)
            self.check_shape(value, shape, f"{path}.{shape.tag}." if shape.tag else f"{path}.")
        elif isinstance(value, list) and form.items:
            for index, item in enumerate(value):
                self.check_form(item, form.items, f"{path}.{index}")
        elif not form.has_room_for(value):
            raise wrong(path, _expected(form))

    def _check_field(self, value: Any, field: Field, path: str) -> None:
        if field.choices and value not in field.choices:
            raise ApiError(f"{path}: Input should be {_either(field.choices)}")
        if value is not None or not field.nullable:
            self.check_form(value, field.form, path)


def _expected(form: Form) -> type:
    """What to ask for where something else stands."""
    if form.shapes:
        return dict
    return list if form.items or not form.plain else form.plain[0]


def needs(holder: Mapping[str, Any], key: str, kind: type | None, prefix: str = "") -> None:
    if key not in holder:
        raise ApiError(f"{prefix}{key}: Field required")
    if kind and (not isinstance(holder[key], kind) or isinstance(holder[key], bool)):
        raise wrong(f"{prefix}{key}", kind)


def refuse_tag(holder: Mapping[str, Any], path: str, tags: Iterable[str]) -> Shape:
    """Never returns: the object is of no known type."""
    if "type" not in holder:
        raise ApiError(f"{path}.type: Field required")
    expected = ", ".join(f"'{tag}'" for tag in tags)
    found = f"Input tag '{holder['type']}' found using 'type'"
    raise ApiError(f"{path}: {found} does not match any of the expected tags: {expected}")


def wrong(path: str, kind: type) -> ApiError:
    return ApiError(f"{path}: Input should be a valid {_KIND[kind]}")


def extra(path: str) -> ApiError:
    return ApiError(f"{path}: Extra inputs are not permitted")


def _either(choices: Iterable[str]) -> str:
    *most, last = [f"'{choice}'" for choice in choices]
    return f"{', '.join(most)} or {last}" if most else last
