"""`convcache emulate`: the emulator as a server.

Knows options. Must not know what is served; `convcache.emulator` does.
"""

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _delay(name: str, help_: str, *, default: float = 0) -> Callable[[_Command], _Command]:
    """An option in seconds that comes to a duration."""
    return click.option(
        name,
        type=click.FloatRange(0),
        default=default,
        metavar="SECONDS",
        callback=lambda _ctx, _param, seconds: timedelta(seconds=seconds),
        help=help_,
    )


@click.command(short_help="Serve the emulated API on this machine.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0 takes a free one."
)
@click.option("--virtual-clock", is_flag=True, help="Time stands still until POST /_emulator/clock moves it.")
@click.option(
    "--clock-speed", type=float, default=1, show_default=True, help="Seconds that pass in a real one."
)
@click.option(
    "--platform",
    type=click.Choice(["claude", "aws", "foundry", "vertex", "bedrock", "bedrock_legacy"]),
    default="claude",
    show_default=True,
    help="Whose rules to follow.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Makes replies, ids and luck repeatable."
)
@_delay("--first-token-delay", "How long until a response starts.")
@_delay("--chunk-delay", "How long between the events of a stream.")
@_delay("--batch-delay", "How long until a batch has ended; a minute if not given.", default=60)
@click.option("--input-tokens-per-minute", type=click.IntRange(1), help="A rate limit; cache reads are free.")
@click.option(
    "--miss-rate",
    type=click.FloatRange(0, 1),
    default=0,
    help="Share of requests that find nothing in the cache.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="JSON",
    help='What goes wrong with the next request, as {"status": 529}; once for each request.',
)
@click.option("--allow-remote", is_flag=True, help="Allow a host that other machines can reach.")
def emulate(
    *,
    host: str,
    port: int,
    virtual_clock: bool,
    clock_speed: float,
    faults: tuple[str, ...],
    miss_rate: float,
    allow_remote: bool,
    **settings: Any,
) -> None:
    """Serve the emulated Messages API and its prompt cache until interrupted.

    The first line printed is `listening on http://HOST:PORT`; that is the base URL for a client, which needs some
    API key, any will do. More can go wrong on demand later: see POST /_emulator/faults.
    """
    from convcache.emulator import Emulator, Settings, SystemClock, VirtualClock, serve  # noqa: PLC0415
    from convcache.emulator.faults import fault_from  # noqa: PLC0415

    if virtual_clock and clock_speed != 1:
        raise click.UsageError("A virtual clock has no speed: choose --virtual-clock or --clock-speed.")
    try:
        clock = VirtualClock() if virtual_clock else SystemClock(speed=clock_speed)
        emulator = Emulator(Settings(best_effort_miss_rate=miss_rate, **settings), clock=clock)
        emulator.fail(*[fault_from(json.loads(fault)) for fault in faults])
        serve(emulator, host=host, port=port, allow_remote=allow_remote)
    except (ValueError, OSError) as error:
        click.echo(f"Cannot serve on {host}:{port}: {error}", err=True)
        sys.exit(2)
