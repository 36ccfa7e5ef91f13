"""What is refused about edits of the context and about compaction: the order of edits, and where summaries stand.

Knows the API's error codes; most texts are our own, because the API's are not published. Must not know how edits work.
"""

from collections.abc import Sequence

from convcache.emulator.compaction import LEAST_TRIGGER, THRESHOLD, trigger
from convcache.emulator.context_editing import CLEARED_THINKING
from convcache.emulator.errors import ApiError
from convcache.emulator.layout import Body, Piece


def check(body: Body, pieces: Sequence[Piece]) -> None:
    managed = body.get("context_management")
    if body.get("compaction") is not None and managed is not None:
        raise ApiError("compaction: cannot be combined with context_management")
    _check_edits((managed or {}).get("edits") or ())
    _check_summaries([piece for piece in pieces if piece.type == "compaction"], pieces)


def _check_edits(edits: Sequence[Body]) -> None:
    for index, edit in enumerate(edits):
        path = f"context_management.edits.{index}"
        if index and edit["type"] == CLEARED_THINKING:
            raise ApiError(f"{path}: {CLEARED_THINKING} must be listed first")
        if edit["type"] == THRESHOLD and trigger(edit) < LEAST_TRIGGER:
            least = f"Input should be greater than or equal to {LEAST_TRIGGER}"
            raise ApiError(f"{path}.{THRESHOLD}.trigger.value: {least}")


def _check_summaries(summaries: Sequence[Piece], pieces: Sequence[Piece]) -> None:
    for piece in summaries:
        if piece.block.get("content") == "":
            raise ApiError(f"{piece.path}.compaction.content: compaction content must be non-empty")
    signed = [piece for piece in summaries if piece.block.get("signature") and piece.block.get("content")]
    if len(signed) > 1:
        raise ApiError(
            f"{signed[1].path}: only the compaction block that was returned last may be sent",
            details={"error_code": "compaction_block_ambiguous"},
        )
    first = next((piece for piece in pieces if piece.section == "messages"), None)
    if signed and signed[0] is not first:
        raise ApiError(
            f"{signed[0].path}: a signed compaction block must be the first block of the conversation",
            details={"error_code": "compaction_block_misplaced"},
        )
