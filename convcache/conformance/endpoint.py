"""A Messages endpoint: the API itself, or an emulator of it whose time can be moved.

Knows how to reach one, to tell which kind it is, and to steer an emulator. Must not know rules nor the cache.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

import attrs
import httpx2
from anthropic import Anthropic, DefaultHttpxClient

API: Final = "https://api.anthropic.com"
_PATIENCE: Final = 5.0
_BETWEEN_LOOKS: Final = 0.005


@attrs.frozen(kw_only=True)
class Endpoint:
    """Where requests go."""

    client: Anthropic
    control: "_Control | None" = None
    """Steers an emulator; `None` for anything else."""
    virtual: bool = False
    """Whether time stands still until it is moved."""
    pause: Callable[[float], None] = time.sleep
    """Lets real seconds pass."""

    @classmethod
    @contextmanager
    def reached(
        cls, base_url: str | None, api_key: str | None, *, pause: Callable[[float], None] = time.sleep
    ) -> Iterator[Self]:
        """An endpoint, open until the block ends.

        Args:
            base_url: Where it is; Anthropic's API if not given.
            api_key: What it asks for; the SDK's usual places if not given.
            pause: Lets real seconds pass.
        """
        local = base_url is not None and base_url != API
        # Without TLS there is nothing to verify, and making ready for it takes longer than ten requests.
        tls = not (base_url or API).startswith("http://")
        with DefaultHttpxClient(trust_env=not local, verify=tls) as http:
            # A request that is tried again may be billed twice and booked once; and what an emulator refuses on
            # demand is to be seen.
            client = Anthropic(base_url=base_url or API, api_key=api_key, http_client=http, max_retries=0)
            control = f"{str(client.base_url).rstrip('/')}/_emulator"
            clock = _clock(http, control) if local else None
            if clock is None:
                yield cls(client=client, pause=pause)
                return
            yield cls(
                client=client,
                control=_Control(http, control),
                virtual=bool(clock["virtual"]),
                pause=pause,
            )

    @property
    def kind(self) -> str:
        if self.control is None:
            return "Messages API"
        return "emulator, virtual clock" if self.virtual else "emulator, real clock"

    def let_pass(self, seconds: float) -> None:
        if self.virtual:
            self.steer("clock", {"advance": seconds})
        else:
            self.pause(seconds)

    def steer(self, what: str, body: dict[str, Any]) -> Any:
        """Tells the emulator something."""
        return self._steered().post(what, body)

    def received(self) -> int:
        """How many requests the emulator has seen."""
        return len(self._steered().get("requests")["requests"])

    def until_received(self, count: int) -> None:
        """Returns when the emulator has seen so many requests.

        Raises:
            TimeoutError: It has not, within a few real seconds.
        """
        deadline = time.perf_counter() + _PATIENCE
        while self.received() < count:
            if time.perf_counter() > deadline:
                raise TimeoutError(f"the emulator did not receive {count} requests")
            time.sleep(_BETWEEN_LOOKS)

    def _steered(self) -> "_Control":
        if self.control is None:
            raise LookupError("only an emulator can be steered")
        return self.control


@attrs.frozen
class _Control:
    """The control endpoints of an emulator."""

    http: httpx2.Client
    url: str

    def get(self, what: str) -> Any:
        return self.http.get(f"{self.url}/{what}").raise_for_status().json()

    def post(self, what: str, body: dict[str, Any]) -> Any:
        return self.http.post(f"{self.url}/{what}", json=body).raise_for_status().json()


def _clock(http: httpx2.Client, control: str) -> Any:
    """What an emulator says of its clock; `None` where there is no emulator."""
    try:
        clock = http.get(f"{control}/clock").json()
    except (httpx2.HTTPError, ValueError):
        return None
    return clock if isinstance(clock, dict) and "virtual" in clock else None
