"""Traces as an application might leave them: rows of JSON, made up."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def billed(
    times: Iterable[float], *, thread: str = "a", repo: str = "o+r", start: int = 20_000
) -> list[dict]:
    """A Claude Code thread in which a person speaks every time, and each reply adds 400 tokens and 100 are asked."""
    return [
        {
            "repo": repo, "session": thread, "thread": "main", "i": i, "model": "claude-opus-4-6", "t_req": t,
            "t_end": t + 5, "human": True, "compact": False, "inp": 0, "w5": 0, "w1": 0, "cr": 0, "out": 400,
            "prompt": start + 500 * i, "user_blocks": [["text", 400]], "out_blocks": [["text", 1600]],
        }
        for i, t in enumerate(times)
    ]  # fmt: skip


def proxied(times: Iterable[float], *, trace: str = "trace_1") -> list[dict]:
    """A tool loop seen by a proxy: each request adds ten blocks of 64 tokens."""
    return [
        {
            "trace": trace, "thread": "main", "i": i, "t": t, "model": "claude-opus-4-6", "inp": 32_000 + 640 * i,
            "out": 100, "blocks": 500 + 10 * i, "lcp_prev": 490 + 10 * i if i else None,
            "prev_blocks": 490 + 10 * i if i else None, "block_size": 64, "api_time": 3.0, "stop": "tool_use",
            "input_types": ["tool_result"] if i else ["text"],
        }
        for i, t in enumerate(times)
    ]  # fmt: skip


def asked(*chats: tuple[int, list[float]]) -> list[dict]:
    """Chats, each with a first block of its own after the one all share; a turn adds two blocks of 512 tokens."""
    rows = [
        {
            "timestamp": int(t * 1000), "input_length": 512 * (6 + 2 * turn) - 200, "output_length": 300,
            "hash_ids": [0, *(name * 1000 + n for n in range(5 + 2 * turn - 1)), name * 1000 + 500 + turn],
        }
        for name, times in chats
        for turn, t in enumerate(times)
    ]  # fmt: skip
    return sorted(rows, key=lambda row: row["timestamp"])


def written(path: Path, rows: Iterable[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
