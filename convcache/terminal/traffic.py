"""Recorded traffic: which requests an application sent, when, and how long their prompts were.

Pure: a file's bytes in, values out. Knows the three forms of traces (billed requests of Claude Code sessions, requests
seen by a proxy, requests of a chat service) and transcripts; nothing of policies, caching or money.
"""

import gzip
import json
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final, TypeAlias

import attrs

from convcache.terminal.transcripts import TranscriptError, exchanges

Row: TypeAlias = Mapping[str, Any]

_GZIP_MAGIC: Final = b"\x1f\x8b"
_CUT_SHORT: Final = 0.95
"""A prompt shorter than this share of the one before it starts over: compacted, or cleared."""
_CHARACTERS_PER_TOKEN: Final = 4
_CHAT_BLOCK: Final = 512
_RAGGED_BLOCKS: Final = 4
"""The end of a prompt as a proxy saw it is rendered otherwise once the reply follows: up to so many blocks."""
_TOKENS_PER_SECOND: Final = 50


class TrafficError(Exception):
    """A file that holds no traffic in a known form."""


@attrs.frozen(kw_only=True, eq=False)
class Request:
    """One request of a conversation.

    Attributes:
        at: When it started.
        replied: When its reply was complete, as far as that is known.
        model: The model asked; empty if that is not known.
        prompt: Tokens of its prompt.
        shared: Tokens at the beginning of its prompt that it has in common with the request before it and its reply.
        reply: Tokens of the reply, as far as later prompts keep it.
        stop_reason: Why the reply ended, by the API's names.
        by_person: Whether a person spoke before it; otherwise it brings results.
    """

    at: datetime
    replied: datetime
    model: str
    prompt: int
    shared: int
    reply: int
    stop_reason: str
    by_person: bool


@attrs.frozen(kw_only=True, eq=False)
class Recorded:
    """A conversation as recorded, oldest request first.

    Attributes:
        repository: What it belonged to: a repository of code, or the corpus where that is not recorded.
        requests: All of them.
    """

    repository: str
    requests: tuple[Request, ...]


@attrs.frozen(kw_only=True, eq=False)
class Corpus:
    """The traffic of one file.

    Attributes:
        name: What it is called: the file's name without its endings.
        fingerprint: Names the file by what it begins with.
        conversations: In the order they began.
    """

    name: str
    fingerprint: str
    conversations: tuple[Recorded, ...]


def corpus(name: str, data: bytes) -> Corpus:
    """The traffic in a file.

    Raises:
        TrafficError: It is in none of the known forms, or damaged.
    """
    text = _text(data)
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith("//")), "")
    try:
        form = _form(json.loads(first or "null"))
        conversations = list(_from_transcript(name, data) if form is None else form(name, _rows(text)))
    except TranscriptError as error:
        raise TrafficError(str(error)) from None
    except (KeyError, TypeError, ValueError) as error:
        raise TrafficError(f"it is no trace of a known form ({error!r})") from None
    found = sorted(conversations, key=lambda each: each.requests[0].at)
    if not found:
        raise TrafficError("it records no request")
    return Corpus(name=name, fingerprint=sha256(first.encode()).hexdigest()[:12], conversations=tuple(found))


def _text(data: bytes) -> str:
    try:
        return (gzip.decompress(data) if data.startswith(_GZIP_MAGIC) else data).decode()
    except EOFError:
        raise TrafficError("its compressed data ends too early") from None
    except (OSError, zlib.error) as error:
        raise TrafficError(f"its compressed data is damaged ({error})") from None
    except UnicodeDecodeError:
        raise TrafficError("it is not text") from None


def _rows(text: str) -> list[Row]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


_Form: TypeAlias = Callable[[str, Sequence[Row]], Iterable[Recorded]]


def _form(first: Any) -> _Form | None:
    """How to read a trace, told by the fields of its first row; `None` for what may be a transcript."""
    fields = set(first) if isinstance(first, dict) else set()
    forms: dict[str, _Form] = {"hash_ids": _from_chat, "lcp_prev": _from_proxy, "t_req": _from_bills}
    return next((form for field, form in forms.items() if field in fields), None)


def _from_bills(name: str, rows: Sequence[Row]) -> Iterable[Recorded]:
    """Billed requests of Claude Code: what was said is not recorded, but whether the history was compacted is."""
    threads = defaultdict(list)
    for row in rows:
        if row["prompt"]:
            threads[row["repo"], row["session"], row["thread"]].append(row)
    for (repository, *_), thread in threads.items():
        thread.sort(key=lambda row: row["t_req"])
        requests: list[Request] = []
        for row in thread:
            kinds = {kind for kind, _ in row["out_blocks"]}
            before = requests[-1].prompt if requests else 0
            starts_over = row["compact"] or row["prompt"] < before * _CUT_SHORT
            _append(
                requests,
                at=_time(row["t_req"]),
                replied=_time(max(row["t_req"], row["t_end"])),
                model=row["model"],
                prompt=row["prompt"],
                shared=0 if starts_over else before,
                reply=max(row["out"], sum(size for _, size in row["out_blocks"]) // _CHARACTERS_PER_TOKEN),
                stop_reason="tool_use" if "tool_use" in kinds else "end_turn",
                by_person=row["human"],
            )
        yield Recorded(repository=repository, requests=tuple(requests))


def _from_proxy(name: str, rows: Sequence[Row]) -> Iterable[Recorded]:
    """Requests as a proxy saw them: how many blocks of the prompt before are kept is recorded."""
    threads = defaultdict(list)
    for row in rows:
        threads[row["trace"], row["thread"]].append(row)
    for thread in threads.values():
        thread.sort(key=lambda row: row["t"])
        requests: list[Request] = []
        for row in thread:
            before = requests[-1].prompt if requests else 0
            kept, sent = row["lcp_prev"] or 0, row["prev_blocks"] or 0
            whole = sent - kept <= _RAGGED_BLOCKS and row["inp"] >= before
            _append(
                requests,
                at=_time(row["t"]),
                replied=_time(row["t"] + (row["api_time"] or 0)),
                model=row["model"],
                prompt=row["inp"],
                shared=before if whole else min(kept * row["block_size"], row["inp"]),
                reply=row["out"],
                stop_reason=row["stop"] or "end_turn",
                by_person="tool_result" not in row["input_types"],
            )
        yield Recorded(repository=name, requests=tuple(requests))


def _from_chat(name: str, rows: Sequence[Row]) -> Iterable[Recorded]:
    """Requests of a chat service: one goes on from another if it begins with all of that one's full blocks.

    The first block is the system prompt that all share, so two blocks at least have to agree.
    """
    sent: dict[tuple[int, ...], tuple[list[Request], Request]] = {}
    chats: list[list[Request]] = []
    for row in sorted(rows, key=lambda row: row["timestamp"]):
        blocks = tuple(row["hash_ids"])
        agreed = next((n for n in range(len(blocks), 1, -1) if blocks[:n] in sent), 0)
        chat, before = sent[blocks[:agreed]] if agreed else ([], None)
        if not agreed:
            chats.append(chat)
        goes_on = before is not None and before is chat[-1] and row["input_length"] >= before.prompt
        at = _time(row["timestamp"] / 1000)
        request = _append(
            chat,
            at=at,
            replied=at + timedelta(seconds=row["output_length"] / _TOKENS_PER_SECOND),
            model="",
            prompt=row["input_length"],
            shared=chat[-1].prompt if goes_on else min(agreed * _CHAT_BLOCK, row["input_length"]),
            reply=row["output_length"],
            stop_reason="end_turn",
            by_person=True,
        )
        if len(blocks) > 2:  # noqa: PLR2004 - the system prompt's, and one of its own
            sent[blocks[:-1]] = chat, request
    return (Recorded(repository=name, requests=tuple(chat)) for chat in chats)


def _from_transcript(name: str, data: bytes) -> Iterable[Recorded]:
    threads = defaultdict(list)
    for exchange in exchanges(data):
        if exchange.usage.prompt:
            threads[exchange.thread].append(exchange)
    for thread in threads.values():
        requests: list[Request] = []
        for exchange in thread:
            before = requests[-1].prompt if requests else 0
            calls = any(block.get("type") == "tool_use" for block in exchange.reply)
            content = exchange.messages[-1]["content"] if exchange.messages else ()
            _append(
                requests,
                at=exchange.at,
                replied=exchange.at,
                model=exchange.model,
                prompt=exchange.usage.prompt,
                shared=0 if exchange.usage.prompt < before * _CUT_SHORT else before,
                reply=exchange.usage.output,
                stop_reason="tool_use" if calls else "end_turn",
                by_person=not any(block.get("type") == "tool_result" for block in content),
            )
        yield Recorded(repository=name, requests=tuple(requests))


def _append(requests: list[Request], **fields: Any) -> Request:
    """Adds a request. It shares with the one before that one's reply, too, as far as the prompt grew; and nothing with
    one to another model."""
    if requests:
        last = requests[-1]
        shared = min(fields["shared"], fields["prompt"]) if fields["model"] == last.model else 0
        kept = max(0, min(last.reply, fields["prompt"] - last.prompt)) if shared == last.prompt else 0
        requests[-1] = attrs.evolve(last, reply=kept or last.reply)
        fields["shared"] = shared + kept
    requests.append(Request(**fields))
    return requests[-1]


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
