"""Which of the server's own tools a user's words ask for, and what those tools are made to find.

Knows web search, web fetch, code execution and tool search. Must not know tools of the client, nor what it costs.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from convcache.emulator.layout import is_deferred
from convcache.emulator.replies.signature import token

Block = dict[str, Any]
Body = Mapping[str, Any]

_LONGEST: Final = 200


def run(body: Body, text: str, *, seed: int, turn: int) -> list[Block]:
    """The call and the result of the first tool that the words ask for; nothing if there is none."""
    if (body.get("tool_choice") or {}).get("type") == "none":
        return []
    for tool in body.get("tools") or ():
        family = next((name for name in _RUN if str(tool.get("type") or "").startswith(name)), None)
        if family and re.search(_ASKED_FOR[family], text, re.IGNORECASE):
            id_ = "srvtoolu_" + token("server call", seed, turn, family, text, length=24)
            return _RUN[family](id_, " ".join(text.split())[:_LONGEST], body)
    return []


def _search(id_: str, text: str, _body: Body) -> list[Block]:
    found = {
        "type": "web_search_result",
        "url": "https://example.com/found",
        "title": f"About: {text[:60]}",
        "encrypted_content": token("search", text, length=80),
        "page_age": None,
    }
    return [
        _call(id_, "web_search", {"query": text}),
        {"type": "web_search_tool_result", "tool_use_id": id_, "content": [found]},
    ]


def _fetch(id_: str, text: str, _body: Body) -> list[Block]:
    named = re.search(r"https?://[^\s\"'<>)]+", text)
    url = named[0] if named else "https://example.com/"
    page = {"type": "text", "media_type": "text/plain", "data": f"This is the page at {url}."}
    document = {"type": "document", "source": page, "title": None, "citations": None}
    content = {"type": "web_fetch_result", "url": url, "content": document, "retrieved_at": None}
    return [
        _call(id_, "web_fetch", {"url": url}),
        {"type": "web_fetch_tool_result", "tool_use_id": id_, "content": content},
    ]


def _execute(id_: str, _text: str, _body: Body) -> list[Block]:
    content = {
        "type": "bash_code_execution_result",
        "stdout": "done\n",
        "stderr": "",
        "return_code": 0,
        "content": [],
    }
    return [
        _call(id_, "bash_code_execution", {"command": "echo done"}),
        {"type": "bash_code_execution_tool_result", "tool_use_id": id_, "content": content},
    ]


def _find_tools(id_: str, text: str, body: Body) -> list[Block]:
    search = next(tool for tool in body["tools"] if str(tool.get("type")).startswith("tool_search_tool"))
    found = [tool for tool in body["tools"] if is_deferred(tool) and tool.get("name")]
    references = [{"type": "tool_reference", "tool_name": tool["name"]} for tool in found[:5]]
    content = {"type": "tool_search_tool_search_result", "tool_references": references}
    return [
        _call(id_, str(search["name"]), {"query": text}),
        {"type": "tool_search_tool_result", "tool_use_id": id_, "content": content},
    ]


def _call(id_: str, name: str, input_: Mapping[str, Any]) -> Block:
    return {"type": "server_tool_use", "id": id_, "name": name, "input": input_}


_RUN: Final[Mapping[str, Callable[[str, str, Body], list[Block]]]] = {
    "web_search": _search,
    "web_fetch": _fetch,
    "code_execution": _execute,
    "tool_search_tool": _find_tools,
}
_ASKED_FOR: Final = {
    "web_search": r"\bweb[_ ]search|\bsearch the (web|internet)",
    "web_fetch": r"\bweb[_ ]fetch|\bfetch\b.*https?://",
    "code_execution": r"\bcode[_ ]execution|\b(run|execute) (some |this |the )?code",
    "tool_search_tool": r"\btool[_ ]search|\bsearch (for )?(your |the |more )?tools",
}
