"""Claude Code transcripts: which requests a recorded session sent, and what came back.

Pure: a file's bytes in, values out. Knows the shape of transcripts; nothing of conversations, caching or money.
"""

import gzip
import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs

from convcache.core.usage import Usage

Json = Mapping[str, Any]

SYNTHETIC: Final = "<synthetic>"
"""The model of messages that Claude Code wrote itself. No request stands behind them."""

_GZIP_MAGIC: Final = b"\x1f\x8b"
_LOST_RESULT: Final = "The transcript does not record this result."


class TranscriptError(Exception):
    """A file that is not a transcript, or not a whole one."""


@attrs.frozen(kw_only=True)
class Exchange:
    """One request of a session and the reply it got.

    Attributes:
        at: When the request started, as far as the transcript tells.
        model: The model that replied.
        thread: What it belongs to: requests that go on from one another share it.
        messages: The messages as sent.
        reply: The content of the reply.
        usage: What was billed when it was recorded.
        mended: How many results of tool calls the transcript lacks, and were made up.
    """

    at: datetime
    model: str
    thread: str
    messages: tuple[Json, ...]
    reply: tuple[Json, ...]
    usage: Usage
    mended: int


def exchanges(data: bytes) -> list[Exchange]:
    """The requests that a transcript records, in the order they were started.

    Raises:
        TranscriptError: The data is no transcript, or is cut off.
    """
    found = list(_Session(_events(_text(data))).exchanges())
    if not found:
        raise TranscriptError("it records no reply of a model, so it is not a transcript")
    return sorted(found, key=lambda exchange: exchange.at)


def _text(data: bytes) -> str:
    try:
        return (gzip.decompress(data) if data.startswith(_GZIP_MAGIC) else data).decode()
    except EOFError:
        raise TranscriptError("its compressed data ends too early") from None
    except (OSError, zlib.error) as error:
        raise TranscriptError(f"its compressed data is damaged ({error})") from None
    except UnicodeDecodeError:
        raise TranscriptError("it is not text") from None


@attrs.frozen(eq=False, kw_only=True)
class _Event:
    """A line that stands in the tree of the session."""

    number: int
    kind: str
    uuid: str
    parent: str | None
    source: str | None
    """The line of the tool call that a result answers."""
    at: datetime
    message: Json
    blocks: tuple[Json, ...]

    @property
    def id(self) -> str | None:
        return self.message.get("id") if self.kind == "assistant" else None

    @property
    def model(self) -> str:
        return str(self.message.get("model", SYNTHETIC))

    @property
    def has_results(self) -> bool:
        return any(block.get("type") == "tool_result" for block in self.blocks)


def _events(text: str) -> Iterator[_Event]:
    at = None
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.startswith("//"):
            continue
        try:
            record = json.loads(line)
        except ValueError:
            raise TranscriptError(f"its line {number} is not JSON, so it is not a transcript") from None
        if not isinstance(record, dict):
            raise TranscriptError(f"its line {number} is not an event, so it is not a transcript")
        try:
            at = _time(record) or at
        except (TypeError, ValueError):
            raise TranscriptError(f"its line {number} has a timestamp that is none") from None
        if isinstance(record.get("uuid"), str) and at is not None:
            yield _event(number, record, at)


def _time(record: Json) -> datetime | None:
    return datetime.fromisoformat(record["timestamp"]).astimezone(UTC) if "timestamp" in record else None


def _event(number: int, record: Json, at: datetime) -> _Event:
    message = record.get("message")
    message = message if isinstance(message, dict) else {}
    return _Event(
        number=number,
        # What Claude Code shows of an error is not part of what it sends.
        kind="error" if record.get("isApiErrorMessage") else str(record.get("type")),
        uuid=record["uuid"],
        parent=record.get("parentUuid") or record.get("logicalParentUuid"),
        source=record.get("sourceToolAssistantUUID") or record.get("parentUuid"),
        at=at + timedelta(milliseconds=float(record.get("retryInMs") or 0)),
        message=message,
        blocks=tuple(_cleaned(_blocks(message.get("content")))),
    )


def _blocks(content: object) -> list[Json]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _cleaned(blocks: Iterable[Json]) -> Iterator[Json]:
    """The blocks as the API takes them: text that holds nothing is refused, also inside a tool's result."""
    for block in blocks:
        if block.get("type") == "tool_result" and isinstance(block.get("content"), list):
            parts = list(_cleaned(_blocks(block["content"])))
            yield {key: parts if key == "content" else value for key, value in block.items()}
        elif block.get("type") != "text" or str(block.get("text", "")).strip():
            yield block


@attrs.define(eq=False)
class _Response:
    """The lines of one reply. A resumed session writes its history again, as other lines of the same reply."""

    lines: list[_Event] = attrs.field(factory=list)

    @property
    def first(self) -> _Event:
        return self.lines[0]

    @property
    def blocks(self) -> tuple[Json, ...]:
        return tuple(block for line in self.lines for block in line.blocks)


@attrs.frozen
class _History:
    """What had been said up to a point, and the thread that it belongs to."""

    thread: str
    messages: tuple[Json, ...] = ()
    mended: int = 0


class _Session:
    """The tree of a transcript's lines."""

    def __init__(self, events: Iterable[_Event]) -> None:
        self._events: dict[str, _Event] = {}
        self._response_of: dict[str, _Response] = {}
        self._results: defaultdict[str | None, list[_Event]] = defaultdict(list)
        self._threads: dict[str, str] = {}
        self._told: dict[_Response, _History] = {}
        for event in events:
            if event.uuid not in self._events:
                self._add(event)

    def _add(self, event: _Event) -> None:
        self._events[event.uuid] = event
        if event.kind == "assistant":
            response = self._response_of[event.uuid] = self._begun(event) or _Response()
            response.lines.append(event)
        elif event.has_results:
            self._results[event.source].append(event)

    def _begun(self, event: _Event) -> _Response | None:
        """The reply that this line goes on with. Results of its first calls may stand in between."""
        for before in self._before(event):
            if before.kind == "assistant":
                return self._response_of[before.uuid] if before.id and before.id == event.id else None
            if before.kind == "user" and not before.has_results:
                return None
        return None

    def _before(self, event: _Event) -> Iterator[_Event]:
        """The lines that lead to this one, the nearest first."""
        seen = {event.uuid}
        while event.parent in self._events and event.parent not in seen:
            seen.add(event.parent)
            event = self._events[event.parent]
            yield event

    def exchanges(self) -> Iterator[Exchange]:
        """Every reply once, where it is first recorded, with the request it answered."""
        for response in dict.fromkeys(self._response_of.values()):
            first, is_copy = response.first, response.first.id in self._threads
            before, since = self._since(first)
            asked = self._asked(first, before, since)
            self._remember(response, asked)
            if first.id and not is_copy and first.model != SYNTHETIC:
                yield Exchange(
                    at=_asked_at(first, since),
                    model=first.model,
                    thread=asked.thread,
                    messages=asked.messages,
                    reply=response.blocks,
                    usage=Usage.of(_bill(response)),
                    mended=asked.mended,
                )

    def _since(self, event: _Event) -> tuple[_Response | None, list[_Event]]:
        """The reply before a line, and what happened in between. Results of parallel calls hang beside the way."""
        since: set[_Event] = set()
        for before in self._before(event):
            if before.kind == "assistant":
                response = self._response_of[before.uuid]
                since.update(result for line in response.lines for result in self._results[line.uuid])
                return response, sorted(since, key=_number)
            since.add(before)
        return None, sorted(since, key=_number)

    def _asked(self, event: _Event, before: _Response | None, since: Sequence[_Event]) -> _History:
        """What had been said before a line: all up to the reply before it, and what came in between."""
        start = _History(since[0].uuid if since else event.uuid)
        told = self._told.get(before, start) if before else start
        calls = _calls(before) if before else []
        said, lost = _said(since, calls)
        return attrs.evolve(told, messages=(*told.messages, *said), mended=told.mended + lost)

    def _remember(self, response: _Response, asked: _History) -> None:
        """A reply that is written again leads from the copy to the thread where it first stood."""
        thread = self._threads.setdefault(response.first.id or response.first.uuid, asked.thread)
        reply = ({"role": "assistant", "content": list(response.blocks)},) if response.blocks else ()
        messages = (*asked.messages, *reply)
        self._told[response] = attrs.evolve(asked, thread=thread, messages=messages)


def _calls(response: _Response) -> list[str]:
    return [str(block.get("id")) for block in response.blocks if block.get("type") == "tool_use"]


def _number(event: _Event) -> int:
    return event.number


def _asked_at(first: _Event, since: Iterable[_Event]) -> datetime:
    """When the last thing before a reply happened: somebody spoke, a tool answered, or a retry was due."""
    causes = (event.at for event in since if event.kind in {"user", "system"})
    return min(first.at, max(causes, default=first.at))


def _said(events: Iterable[_Event], calls: Sequence[str]) -> tuple[tuple[Json, ...], int]:
    """What came between two replies, as one message, and how many results in it had to be made up.

    The API joins neighbours and wants results first. It refuses a call without a result, and the other way round.
    """
    blocks = [block for event in events if event.kind == "user" for block in event.blocks]
    results: dict[Any, Json] = {}
    for block in blocks:
        if block.get("type") == "tool_result":
            results.setdefault(block.get("tool_use_id"), block)
    known = [result for id_, result in results.items() if id_ in calls]
    lost = [_lost_result(call) for call in calls if call not in results]
    others = [block for block in blocks if block.get("type") != "tool_result"]
    content = [*known, *lost, *others]
    return (({"role": "user", "content": content},) if content else ()), len(lost)


def _lost_result(call: str) -> Json:
    return {"type": "tool_result", "tool_use_id": call, "content": _LOST_RESULT, "is_error": True}


def _bill(response: _Response) -> Json:
    """The usage of a reply: every line repeats the prompt's, the last one knows the whole output."""
    bills = [line.message["usage"] for line in response.lines if isinstance(line.message.get("usage"), dict)]
    output = max((bill.get("output_tokens") or 0 for bill in bills), default=0)
    return {**(bills[-1] if bills else {}), "output_tokens": output}
