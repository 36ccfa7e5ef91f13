"""`convcache emulate`: the emulator as a server.

Knows options. Must not know what is served; `convcache.emulator` does.
"""

import sys
from typing import Literal

import click


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
    type=click.Choice(["claude", "bedrock"]),
    default="claude",
    show_default=True,
    help="Whose lookback rules to follow.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Makes replies and ids repeatable.")
@click.option("--allow-remote", is_flag=True, help="Allow a host that other machines can reach.")
def emulate(
    *,
    host: str,
    port: int,
    virtual_clock: bool,
    clock_speed: float,
    platform: Literal["claude", "bedrock"],
    seed: int,
    allow_remote: bool,
) -> None:
    """Serve the emulated Messages API and its prompt cache until interrupted.

    The first line printed is `listening on http://HOST:PORT`; that is the base URL for a client, which needs some
    API key, any will do.
    """
    from convcache.emulator import Emulator, Settings, SystemClock, VirtualClock, serve  # noqa: PLC0415

    if virtual_clock and clock_speed != 1:
        raise click.UsageError("A virtual clock has no speed: choose --virtual-clock or --clock-speed.")
    try:
        clock = VirtualClock() if virtual_clock else SystemClock(speed=clock_speed)
        emulator = Emulator(Settings(platform=platform, seed=seed), clock=clock)
        serve(emulator, host=host, port=port, allow_remote=allow_remote)
    except (ValueError, OSError) as error:
        click.echo(f"Cannot serve on {host}:{port}: {error}", err=True)
        sys.exit(2)
