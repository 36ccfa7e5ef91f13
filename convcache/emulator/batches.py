"""`/v1/messages/batches`: requests that are served later, in order, through the same cache.

Knows batches, their rows and when each is due. Must not know how a message comes about.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from urllib.parse import parse_qs

import attrs

from convcache.emulator.answers import Answer, Plain, Text
from convcache.emulator.caller import Caller
from convcache.emulator.errors import ApiError
from convcache.emulator.messages import MessageAnswer, Messages
from convcache.emulator.replies.signature import token
from convcache.emulator.wire import Request, compact, on_the_wire

PATH: Final = "/v1/messages/batches"
LIFETIME: Final = timedelta(hours=24)
"""What is not served by then has expired."""

_MOST_REQUESTS: Final = 100_000
_MOST_ON_A_PAGE: Final = 1000
_CUSTOM_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NOT_IN_BATCHES: Final = ("betas", "stream", "thread", "workspace_id")
_OUTCOMES: Final = ("succeeded", "errored", "canceled", "expired")

Result = Mapping[str, Any]


@attrs.define
class _Row:
    custom_id: str
    params: Any
    due: datetime
    result: Result | None = None


@attrs.define(kw_only=True)
class _Batch:
    id: str
    caller: Caller
    created_at: datetime
    rows: list[_Row]
    ends_at: datetime
    results_url: str
    done: int = 0
    cancelled_at: datetime | None = None

    @property
    def ended(self) -> bool:
        return self.done == len(self.rows)

    @property
    def next(self) -> _Row:
        return self.rows[self.done]

    @property
    def expires_at(self) -> datetime:
        return self.created_at + LIFETIME

    def told(self, status: Literal["in_progress", "canceling"] = "in_progress") -> Mapping[str, Any]:
        ended = self.ended and status != "canceling"
        outcomes = Counter(row.result["type"] for row in self.rows if row.result) if ended else Counter[str]()
        counts = {outcome: outcomes[outcome] for outcome in _OUTCOMES}
        return {
            "id": self.id,
            "type": "message_batch",
            "processing_status": "ended" if ended else status,
            "request_counts": {"processing": 0 if ended else len(self.rows), **counts},
            "created_at": _written(self.created_at),
            "expires_at": _written(self.expires_at),
            "ended_at": _written(self.ends_at) if ended else None,
            "cancel_initiated_at": _written(self.cancelled_at),
            "archived_at": None,
            "results_url": self.results_url if ended else None,
        }


class Batches:
    """Every batch, oldest first.

    Args:
        messages: Serves the rows.
    """

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._batches: dict[str, _Batch] = {}
        self._under_way: list[_Batch] = []
        self._made = 0

    def received(self, request: Request, caller: Caller, at: datetime) -> Answer:
        """Answers a request about batches.

        Raises:
            ApiError: There is no such batch or endpoint, or the request is refused.
        """
        match request.method, request.path.removeprefix(PATH).strip("/").split("/"):
            case "POST", [""]:
                return Plain(self._created(request, caller, at).told())
            case "GET", [""]:
                return Plain(self._page(parse_qs(request.query), caller))
            case "GET", [id_]:
                return Plain(self._found(id_, caller).told())
            case "DELETE", [id_]:
                return Plain(self._deleted(self._found(id_, caller)))
            case "POST", [id_, "cancel"]:
                return Plain(self._cancelled(self._found(id_, caller), at))
            case "GET", [id_, "results"]:
                return Text(_lines(self._found(id_, caller)), "application/x-jsonl")
        raise ApiError("Not Found", status=404)

    def serve(self, at: datetime) -> None:
        """Serves what has come due by now, in the order in which it did."""
        while self._under_way:
            batch = min(self._under_way, key=lambda each: each.next.due)
            if batch.next.due > at:
                return
            rows = batch.rows[batch.done : batch.done + self._messages.settings.batch_rows_at_once]
            for row, begin in [(row, self._answered(batch, row)) for row in rows]:
                row.result = begin()
            batch.done += len(rows)
            if batch.ended:
                self._under_way.remove(batch)

    def clear(self) -> None:
        self._batches.clear()
        self._under_way.clear()

    def _created(self, request: Request, caller: Caller, at: datetime) -> _Batch:
        asked = _requests(request.body)
        self._made += 1
        settings = self._messages.settings
        delay, seed = settings.batch_delay, settings.seed
        id_ = "msgbatch_" + token("batch", seed, self._made, length=24)
        batch = _Batch(
            id=id_,
            caller=caller,
            created_at=at,
            rows=[
                _Row(each["custom_id"], each["params"], at + min(LIFETIME, delay * served / len(asked)))
                for each, served in zip(
                    asked, _served_by(len(asked), settings.batch_rows_at_once), strict=True
                )
            ],
            ends_at=at + min(delay, LIFETIME),
            results_url=f"http://{request.headers.get('host', 'localhost')}{PATH}/{id_}/results",
        )
        self._batches[id_] = batch
        self._under_way.append(batch)
        return batch

    def _answered(self, batch: _Batch, row: _Row) -> Callable[[], Result]:
        """What gives a row's result when it is begun; until then nothing it writes can be read."""
        if row.due >= batch.expires_at:
            return lambda: {"type": "expired"}
        request_id = "req_" + token("row", batch.id, row.custom_id, length=24)
        try:
            _check_params(row.params)
            answer = self._messages.answer(row.params, batch.caller, row.due, tier="batch")
        except ApiError as error:
            refusal = error.body(request_id)
            return lambda: {"type": "errored", "error": refusal}
        return lambda: _begun(answer, request_id, row.due)

    def _found(self, id_: str, caller: Caller) -> _Batch:
        batch = self._batches.get(id_)
        if batch is None or batch.caller.scope != caller.scope:
            raise ApiError(f"message_batch: {id_}", status=404)
        return batch

    def _cancelled(self, batch: _Batch, at: datetime) -> Mapping[str, Any]:
        """What was served stays so; cancelling takes effect with the next look at the batch."""
        if batch.ended:
            raise ApiError(f"{batch.id}: a batch that has ended cannot be canceled")
        batch.cancelled_at = batch.ends_at = at
        for row in batch.rows[batch.done :]:
            row.result = {"type": "canceled"}
        batch.done = len(batch.rows)
        self._under_way.remove(batch)
        return batch.told("canceling")

    def _deleted(self, batch: _Batch) -> Mapping[str, Any]:
        if not batch.ended:
            raise ApiError(f"{batch.id}: a batch can be deleted once it has ended; cancel it first")
        del self._batches[batch.id]
        return {"id": batch.id, "type": "message_batch_deleted"}

    def _page(self, query: Mapping[str, Sequence[str]], caller: Caller) -> Mapping[str, Any]:
        """The newest first; cursors name the batch that a page comes after or before."""
        batches = [each for each in reversed(self._batches.values()) if each.caller.scope == caller.scope]
        limit = _limit(query)
        if "after_id" in query:
            batches = batches[_index(batches, query["after_id"][0]) + 1 :]
        page, more = batches[:limit], len(batches) > limit
        if "before_id" in query:
            batches = batches[: _index(batches, query["before_id"][0])]
            page, more = batches[-limit:], len(batches) > limit
        first, last = (page[0].id, page[-1].id) if page else (None, None)
        data = [batch.told() for batch in page]
        return {"data": data, "has_more": more, "first_id": first, "last_id": last}


def _served_by(count: int, together: int) -> Iterator[int]:
    """For each row, how many are served when it is."""
    return (min(index - index % together + together, count) for index in range(count))


def _begun(answer: MessageAnswer, request_id: str, at: datetime) -> Result:
    try:
        return {"type": "succeeded", "message": answer.begun(request_id, at)[0]}
    except ApiError as error:
        return {"type": "errored", "error": error.body(request_id)}


def _requests(body: bytes) -> list[Mapping[str, Any]]:
    """The requests of a new batch; their params are looked at when their turn comes.

    Raises:
        ApiError: The batch is none.
    """
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(f"The request body is not valid JSON: {error}") from error
    requests = asked.get("requests") if isinstance(asked, dict) else None
    if not isinstance(requests, list):
        raise ApiError("requests: Input should be a valid list")
    if not 1 <= len(requests) <= _MOST_REQUESTS:
        raise ApiError(f"requests: a batch has between 1 and {_MOST_REQUESTS} requests ({len(requests)})")
    for number, request in enumerate(requests):
        _check_request(request, f"requests.{number}")
    ids = Counter(request["custom_id"] for request in requests)
    for id_, times in ids.items():
        if times > 1:
            raise ApiError(f"requests: custom_id must be unique ({id_} is there {times} times)")
    return requests


def _check_request(request: Any, path: str) -> None:
    if not isinstance(request, dict):
        raise ApiError(f"{path}: Input should be a valid dictionary")
    for key in ("custom_id", "params"):
        if key not in request:
            raise ApiError(f"{path}.{key}: Field required")
    for key in request.keys() - {"custom_id", "params"}:
        raise ApiError(f"{path}.{key}: Extra inputs are not permitted")
    if not isinstance(request["custom_id"], str) or not _CUSTOM_ID.fullmatch(request["custom_id"]):
        raise ApiError(f"{path}.custom_id: String should match pattern '^{_CUSTOM_ID.pattern}$'")
    if not isinstance(request["params"], dict):
        raise ApiError(f"{path}.params: Input should be a valid dictionary")


def _check_params(params: Mapping[str, Any]) -> None:
    """What a request may be by itself, but not in a batch."""
    for key in _NOT_IN_BATCHES:
        if params.get(key):
            raise ApiError(f"{key}: Extra inputs are not permitted")
    if params.get("max_tokens") == 0:
        raise ApiError("max_tokens: 0 is not allowed in a message batch")
    if params.get("speed") == "fast":
        raise ApiError("speed: 'fast' is not available in a message batch")


def _limit(query: Mapping[str, Sequence[str]]) -> int:
    written = query.get("limit", ["20"])[0]
    if not written.isascii() or not written.isdigit() or not 1 <= int(written) <= _MOST_ON_A_PAGE:
        raise ApiError(f"limit: Input should be an integer between 1 and {_MOST_ON_A_PAGE}")
    return int(written)


def _index(batches: Sequence[_Batch], id_: str) -> int:
    for index, batch in enumerate(batches):
        if batch.id == id_:
            return index
    raise ApiError(f"message_batch: {id_}", status=404)


def _lines(batch: _Batch) -> bytes:
    if not batch.ended:
        raise ApiError(f"{batch.id}: the batch has no results before it has ended", status=404)
    return on_the_wire("".join(_line(batch)))


def _line(batch: _Batch) -> Iterator[str]:
    for row in batch.rows:
        yield compact({"custom_id": row.custom_id, "result": row.result}) + "\n"


def _written(at: datetime | None) -> str | None:
    return at.isoformat().replace("+00:00", "Z") if at else None
