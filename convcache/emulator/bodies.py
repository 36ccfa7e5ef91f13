"""Request bodies, parsed: what a conversation said before is the same object as when it was first read.

Knows JSON and how bodies of one conversation begin alike. Must not know what a message means; whoever works
something out about a message, or about all up to it, may keep it there: a long history then costs little more than
finding it. Without these objects (`json.loads`, a list put together otherwise) everything is worked out anew.
"""

import json
from collections.abc import Callable, Sequence
from json import JSONDecoder
from json.scanner import make_scanner
from typing import Any, Final, NamedTuple, TypeVar

Worked = TypeVar("Worked")

KEPT_CHARACTERS: Final = 32 * 1024 * 1024
"""How much text of messages is remembered; then all of it is let go, which costs time and nothing else."""

_BLANKS: Final = frozenset(" \t\n\r")
# The stubs ask for a scanner where the function takes a decoder.
_SCAN: Final = make_scanner(JSONDecoder())  # type: ignore[arg-type]  # as the decoder makes its own


class Message(dict[str, Any]):
    """A message, and what has been worked out about it. Stands for one place in one conversation; never changed."""

    __slots__ = ("worked_out",)

    def __init__(self, fields: dict[str, Any]) -> None:
        super().__init__(fields)
        self.worked_out: dict[Any, Any] = {}


def once(message: Any, key: Any, work_out: Callable[[], Worked]) -> Worked:
    """What a pure function of a message and a key comes to, worked out when it is first asked for."""
    if not isinstance(message, Message):
        return work_out()
    known = message.worked_out
    if key not in known:
        known[key] = work_out()
    worked: Worked = known[key]
    return worked


class Said(list[Any]):
    """The messages of a request as they were parsed: its `Message` objects follow each other only here."""


def folded(
    messages: Sequence[Any], key: Any, start: Worked, step: Callable[[Worked, int, Any], Worked]
) -> Worked:
    """A fold over messages, taken up after the last one for which it was worked out before.

    Args:
        messages: The messages.
        key: Names the fold and whatever else it depends on.
        start: What it begins with.
        step: From what was so far, the place of a message and the message, to what is then. Values stay small.
    """
    at, state = _left_off(messages, key, start) if isinstance(messages, Said) else (0, start)
    for place in range(at, len(messages)):
        message = messages[place]
        state = step(state, place, message)
        if isinstance(message, Message) and isinstance(messages, Said):
            message.worked_out[key] = state
    return state


def _left_off(messages: Said, key: Any, start: Worked) -> tuple[int, Worked]:
    for place in range(len(messages) - 1, -1, -1):
        message = messages[place]
        if isinstance(message, Message) and key in message.worked_out:
            return place + 1, message.worked_out[key]
    return 0, start


class _Place:
    """The end of a run of messages from the first on, and the messages that were seen to come next."""

    __slots__ = ("latest", "next")

    def __init__(self) -> None:
        self.next: dict[str, _Next] = {}
        self.latest: _Next | None = None


class _Next(NamedTuple):
    """A message that was seen at a place, as it was written, and the place behind it."""

    written: str
    message: Message
    then: _Place


class Bodies:
    """Parses bodies like `json.loads`; equal beginnings of `messages` come out as the same `Message` objects."""

    def __init__(self, kept_characters: int = KEPT_CHARACTERS) -> None:
        self._room = kept_characters
        self.clear()

    def clear(self) -> None:
        self._first = _Place()
        self._kept = 0

    def parsed(self, body: bytes) -> Any:
        """The value of a JSON text.

        Raises:
            ValueError: It is not JSON; also if its text is in no encoding that JSON may have.
            RecursionError: It is nested too deeply.
        """
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        try:
            return self._object(text)
        except (StopIteration, IndexError, _OtherFormError):
            # Anything but an object with plain members is left to the one parser that knows every mistake's name.
            return json.loads(body)

    def _object(self, text: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        at = _expect(text, 0, "{")
        while True:
            key, at = _SCAN(text, _skip(text, at))
            if not isinstance(key, str):
                raise _OtherFormError
            at = _skip(text, _expect(text, at, ":"))
            is_list = key == "messages" and text[at] == "["
            found[key], at = self._list(text, at + 1) if is_list else _SCAN(text, at)
            at = _skip(text, at)
            if text[at] == "}":
                break
            at = _expect(text, at, ",")
        if _skip(text, at + 1) != len(text):
            raise _OtherFormError
        return found

    def _list(self, text: str, at: int) -> tuple[Said, int]:
        said = Said()
        place: _Place | None = self._first
        at = _skip(text, at)
        while text[at] != "]" or said:
            seen = place.latest if place else None
            if seen and text.startswith(seen.written, at):
                message, place, at = seen.message, seen.then, at + len(seen.written)
            else:
                message, place, at = self._element(text, at, place)
            said.append(message)
            at = _skip(text, at)
            if text[at] == "]":
                break
            at = _skip(text, _expect(text, at, ","))
        return said, at + 1

    def _element(self, text: str, at: int, place: _Place | None) -> tuple[Any, _Place | None, int]:
        """A message that is not the one that came here last time."""
        message, end = _SCAN(text, at)
        if place is None or not isinstance(message, dict):
            return message, None, end
        written = text[at:end]
        if written not in place.next:
            self._make_room(len(written))
            place.next[written] = _Next(written, Message(message), _Place())
        place.latest = place.next[written]
        return place.latest.message, place.latest.then, end

    def _make_room(self, characters: int) -> None:
        if self._kept + characters > self._room:
            self.clear()
        self._kept += characters


class _OtherFormError(ValueError):
    """The text is no object, or no JSON."""


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in _BLANKS:
        at += 1
    return at


def _expect(text: str, at: int, character: str) -> int:
    """The place after a character, which may have space before it."""
    if text[at] != character:
        at = _skip(text, at)
    if text[at] != character:
        raise _OtherFormError
    return at + 1
