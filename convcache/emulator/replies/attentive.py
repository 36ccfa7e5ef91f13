"""The default replies: listen to the last user turn, think if asked to, call the tools it names, else answer.

Knows how a turn of an assistant is put together. Must not know where words come from; `speech` and `calls` do.
"""

from collections.abc import Mapping
from typing import Any, Final

from convcache.emulator.replies import calls, server_calls, speech
from convcache.emulator.replies.heard import Heard
from convcache.emulator.replies.limit import within
from convcache.emulator.replies.reply import Reply
from convcache.emulator.replies.signature import token

_THINKING: Final = frozenset({"enabled", "adaptive", "between_tools"})
_UNLIMITED: Final = 4096


class AttentiveReplies:
    """Answers in plain English from the system prompt and what was said, the same way for the same seed.

    Args:
        seed: Varies wording, ids and signatures.
    """

    def __init__(self, *, seed: int = 0) -> None:
        self._seed = seed

    def reply(self, body: Mapping[str, Any]) -> Reply:
        heard = Heard.of(body)
        content = [*self._thinking(body, heard), *self._answer(body, heard)]
        return within(content, int(body.get("max_tokens") or _UNLIMITED))

    def _thinking(self, body: Mapping[str, Any], heard: Heard) -> list[dict[str, Any]]:
        thinking = body.get("thinking") or {}
        if thinking.get("type") not in _THINKING or heard.results:
            return []
        thought = speech.thought(heard.text, heard.turn)
        signature = token("sig", self._seed, heard.turn, thought, length=160)
        shown = "" if thinking.get("display") == "omitted" else thought
        return [{"type": "thinking", "thinking": shown, "signature": signature}]

    def _answer(self, body: Mapping[str, Any], heard: Heard) -> list[dict[str, Any]]:
        ran = [] if heard.results else server_calls.run(body, heard.text, seed=self._seed, turn=heard.turn)
        if ran:
            return [*ran, {"type": "text", "text": speech.answer(heard, seed=self._seed)}]
        called = calls.called(body, heard.text, after_results=bool(heard.results))
        if called:
            uses = [self._tool_use(tool, heard, number) for number, tool in enumerate(called)]
            return [{"type": "text", "text": speech.before_calls([tool["name"] for tool in called])}, *uses]
        schema = calls.output_schema(body)
        if schema is not None:
            return [{"type": "text", "text": calls.json_for(schema, heard.text)}]
        return [{"type": "text", "text": speech.answer(heard, seed=self._seed)}]

    def _tool_use(self, tool: Mapping[str, Any], heard: Heard, number: int) -> dict[str, Any]:
        id_ = "toolu_" + token("call", self._seed, heard.turn, number, tool["name"], heard.text, length=24)
        input_ = calls.input_for(tool.get("input_schema") or {}, heard.text)
        return {"type": "tool_use", "id": id_, "name": tool["name"], "input": input_}
