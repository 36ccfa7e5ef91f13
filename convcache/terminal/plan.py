"""`convcache plan`: a request as an indented outline, with the breakpoints convcache would place in it, and why.

Knows how to draw. What is drawn is decided by `convcache.plan`.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from convcache.core.node import Node
    from convcache.core.planner import Breakpoint, Plan

WHY: Final = {
    "border": "border: what stands before it is shared by other requests",
    "tail": "tail: written now, read by the next request",
    "anchor": "anchor: the tail of the last turn",
    "pin": "pin: the end of a turn you want to go back to",
    "edge": "edge: the end of what stays when thinking is dropped or a tool result cleared",
    "own": "your own",
}
_WIDTH: Final = 60


@click.command(short_help="Show where the breakpoints of a request belong.")
@click.argument("request_file", metavar="REQUEST.json", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of the outline.")
@click.option("--ttl", type=click.Choice(["5m", "1h"]), default="5m", show_default=True)
@click.option("--platform", type=click.Choice(["claude", "bedrock"]), help="Whose lookback rules hold.")
def plan(*, request_file: str, as_json: bool, ttl: Any, platform: Any) -> None:
    """Show the breakpoints convcache would place in a request, why, what it repairs, and what that should cost.

    REQUEST.json holds the body of a Messages request; `-` reads it from stdin. Nothing is sent.
    """
    from convcache import Policy
    from convcache import plan as planned

    try:
        text = sys.stdin.read() if request_file == "-" else Path(request_file).read_text(encoding="utf-8")
        request = json.loads(text)
        if not isinstance(request, dict):
            raise TypeError("it is not a JSON object")  # noqa: TRY301 - told like everything else that is wrong
        made = planned(request, policy=Policy(ttl=ttl), platform=platform)
    except OSError as error:
        raise click.UsageError(f"{request_file} cannot be read: {error.strerror}.") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise click.UsageError(
            f"{request_file} holds no Messages request that can be planned: {error}"
        ) from None
    if as_json:
        click.echo(json.dumps(as_document(made, request)))
    else:
        for line in outline(made, request):
            click.echo(line)


def as_document(plan: "Plan", request: dict[str, Any]) -> dict[str, Any]:
    """A plan as JSON."""
    forecast = plan.forecast
    return {
        "breakpoints": [
            {"path": path_of(point.node), "slot": point.slot, "ttl": point.ttl} for point in plan.breakpoints
        ],
        "repairs": list(repairs(plan, request)),
        "forecast": {
            "read": forecast.read,
            "written_5m": forecast.written_5m,
            "written_1h": forecast.written_1h,
            "uncached": forecast.uncached,
            "cost": None if plan.cost is None else str(plan.cost),
        },
    }


def outline(plan: "Plan", request: dict[str, Any]) -> Iterator[str]:
    """A plan as lines: the request block by block, then repairs and forecast."""
    points = {point.node: point for point in plan.breakpoints}
    section = ""
    for node in plan.prompt.nodes:
        heading = node.section if node.section != "messages" else _heading(node, request)
        if heading != section:
            section = heading
            yield heading
        yield _line(node, points.get(node), request)
    for repair in repairs(plan, request):
        yield f"repaired  {repair}"
    yield from _forecast(plan)


def repairs(plan: "Plan", request: dict[str, Any]) -> Iterator[str]:
    """What the caller's own breakpoints would have got wrong, or what becomes of them."""
    chosen = {point.node: point for point in plan.breakpoints}
    for node in plan.prompt.nodes:
        if node.own is None:
            continue
        point = chosen.get(node)
        if not node.markable:
            yield f"{path_of(node)}: the API refuses a breakpoint here; taken away"
        elif point is None:
            yield f"{path_of(node)}: one too many, or its prefix is too short to be cached; taken away"
        elif point.ttl != node.own:
            yield f"{path_of(node)}: {node.own} before an hour is refused; made {point.ttl}"
    if plan.prompt.automatic is not None:
        yield "cache_control at the top level: placed on the last block instead, where it takes no slot of its own"


def path_of(node: "Node") -> str:
    """A block's path as the API's errors write it."""
    if node.section != "messages":
        return ".".join(map(str, node.path))
    return f"messages.{node.path[1]}.content.{node.path[-1]}"


def _heading(node: "Node", request: dict[str, Any]) -> str:
    return f"messages.{node.path[1]} ({request['messages'][node.path[1]]['role']})"


def _line(node: "Node", point: "Breakpoint | None", request: dict[str, Any]) -> str:
    mark = f"  <- {point.ttl} {WHY[point.slot]}" if point else ""
    return f"  {_shown(node, request):{_WIDTH if mark else 0}}{mark}"


def _shown(node: "Node", request: dict[str, Any]) -> str:
    content = (
        request["messages"][node.path[1]]["content"] if node.section == "messages" else request[node.section]
    )
    block = {"type": "text", "text": content} if isinstance(content, str) else content[node.path[-1]]
    kind = str(block.get("type", "tool"))
    said = block.get("text") or block.get("name") or block.get("tool_use_id") or ""
    text = " ".join(str(said).split())
    shown = f"{kind} {text}".strip()
    return shown if len(shown) < _WIDTH else f"{shown[: _WIDTH - 4]}..."


def _forecast(plan: "Plan") -> Iterator[str]:
    from convcache.terminal.render import money, tokens

    if not plan.breakpoints:
        least = plan.prompt.model.minimum
        yield f"no breakpoint: this model caches nothing shorter than {least:,} tokens"
    cost = "" if plan.cost is None else f" | {money(plan.cost)} for the prompt"
    yield f"forecast  {tokens(plan.forecast)}, if nothing is cached yet{cost}"
