"""What `max_tokens: 0` does not go together with.

Knows the documented conflicts; the texts are our own, because the API's are not published. Must not know the cache.
"""

from convcache.emulator.errors import ApiError
from convcache.emulator.layout import Body


def check(body: Body) -> None:
    if body.get("max_tokens") != 0:
        return
    for conflict in _conflicts(body):
        raise ApiError(f"max_tokens: 0 is not allowed together with {conflict}")


def _conflicts(body: Body) -> list[str]:
    conflicts = {
        "stream: true": body.get("stream"),
        "thinking.type 'enabled'": (body.get("thinking") or {}).get("type") == "enabled",
        "output_config.format": (body.get("output_config") or {}).get("format") or body.get("output_format"),
        "a forced tool_choice": (body.get("tool_choice") or {}).get("type") in ("any", "tool"),
    }
    return [name for name, present in conflicts.items() if present]
