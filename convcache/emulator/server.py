"""The emulator on a port of this machine: for a `with` block, or until told to stop.

Knows hosts, threads and signals. Must not know HTTP; `asgi` does, and needs the extra `[emulator]`.
"""

import ipaddress
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from convcache.emulator.engine import Emulator

if TYPE_CHECKING:
    from convcache.emulator.asgi import QuietServer

_SECONDS_TO_STOP = 10.0


class EmulatorServer:
    """An emulator behind HTTP, in a thread of its own.

    Args:
        emulator: What to serve.
        host: An address of this machine.
        port: 0 takes a free one.
        allow_remote: Whether `host` may be an address others can reach.

    Raises:
        ValueError: The host is not loopback and `allow_remote` is not set.
        ImportError: The extra `[emulator]` is not installed.
    """

    def __init__(
        self, emulator: Emulator, host: str = "127.0.0.1", port: int = 0, *, allow_remote: bool = False
    ) -> None:
        if not allow_remote and not _is_loopback(host):
            raise ValueError(
                f"{host} can be reached from other machines. Choose a loopback host, or set allow_remote=True "
                "(--allow-remote) if that is meant."
            )
        self.emulator = emulator
        self._host, self._port = host, port
        self._quiet = _quiet_server(emulator)
        self._bound: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where it listens; `base_url` for a client."""
        if self._bound is None:
            raise RuntimeError("The server is not running. Use it as a context manager or call start().")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._bound.getsockname()[1]}"

    def start(self) -> None:
        """Returns when requests are served; a server that was stopped serves again.

        Raises:
            RuntimeError: It is running.
            OSError: The port is taken.
        """
        if self._bound is not None:
            raise RuntimeError(f"The server is running already, at {self.url}.")
        self._bound = _bound(self._host, self._port)
        self._thread = threading.Thread(
            target=self._quiet.run_on, args=(self._bound,), name="convcache-emulator", daemon=True
        )
        self._thread.start()
        self._quiet.ready.wait()

    def stop(self) -> None:
        """Breaks off what is under way and gives the port back."""
        if self._thread is not None and self._bound is not None:
            self._quiet.stop()
            self._thread.join(_SECONDS_TO_STOP)
            self._bound.close()
            self._thread = self._bound = None
            # uvicorn's server is for one run.
            self._quiet = _quiet_server(self.emulator)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def serve(
    emulator: Emulator | None = None, *, host: str = "127.0.0.1", port: int = 0, allow_remote: bool = False
) -> None:
    """Serves an emulator until SIGINT or SIGTERM; the first line printed says where.

    Args:
        emulator: What to serve; one with default settings if not given.
        host: An address of this machine.
        port: 0 takes a free one.
        allow_remote: Whether `host` may be an address others can reach.

    Raises:
        ValueError: The host is not loopback and `allow_remote` is not set.
        ImportError: The extra `[emulator]` is not installed.
    """
    server = EmulatorServer(emulator or Emulator(), host, port, allow_remote=allow_remote)
    with _stop_signals() as stopped, server:
        print(f"listening on {server.url}", flush=True)  # noqa: T201 - what waits for it reads this
        stopped.wait()


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    stopped = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in signals}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _quiet_server(emulator: Emulator) -> "QuietServer":
    try:
        from convcache.emulator.asgi import QuietServer  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ImportError(
            f"Serving the emulator over HTTP needs {error.name}. Run: pip install 'convcache[emulator]'"
        ) from error
    return QuietServer(emulator)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's delay off only where the protocol is spelled out, and 40 ms a request are too many.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
