"""The emulator inside this process, and a client that reaches nothing else.

Knows how to start one. Must not know what it is used for.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from anthropic import Anthropic, DefaultHttpxClient

from convcache.emulator import Emulator, EmulatorServer


@contextmanager
def emulated(emulator: Emulator) -> Iterator[Anthropic]:
    """A client of an emulator on loopback. No proxy of the environment stands in between."""
    with EmulatorServer(emulator) as server, DefaultHttpxClient(trust_env=False) as http:
        yield Anthropic(
            base_url=server.url, api_key="emulated", auth_token=None, max_retries=0, http_client=http
        )
