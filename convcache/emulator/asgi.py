"""The emulator as a Starlette application, and the uvicorn server that runs it.

Knows HTTP connections: when a client has gone, how to drop one. Must not know what a request means.
Needs the extra `[emulator]`.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine
from datetime import datetime
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from convcache.emulator.engine import Emulator
from convcache.emulator.wire import Pending, Request, Response

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_SECONDS_TO_CLOSE = 5.0


class _Answering:
    """One answer on its way to one client, given up as soon as the client has gone."""

    def __init__(self, emulator: Emulator, pending: Pending, connections: set[Any]) -> None:
        self._emulator, self._pending, self._connections = emulator, pending, connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = _Client(scope, receive, self._connections)
        try:
            if not await client.stays(self._until(self._pending.starts_at)):
                return
            if self._pending.dropped:
                await client.drop()
                return
            await self._send(self._pending.start(self._emulator.clock.now()), client, send)
        finally:
            client.forget()

    async def _send(self, response: Response, client: "_Client", send: Send) -> None:
        headers = [(name.encode(), value.encode()) for name, value in response.headers.items()]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        for chunk in response.chunks:
            if not await client.stays(self._until(chunk.at)):
                return
            await send({"type": "http.response.body", "body": chunk.data, "more_body": True})
        if response.cut:
            await client.drop()
        else:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _until(self, at: datetime) -> Coroutine[Any, Any, None] | None:
        clock = self._emulator.clock
        return clock.async_wait_until(at) if at > clock.now() else None


class _Client:
    """The other end of a connection."""

    def __init__(self, scope: Scope, receive: Receive, connections: set[Any]) -> None:
        self._address, self._connections = scope["client"], connections
        self._gone = asyncio.ensure_future(_disconnected(receive))

    async def stays(self, wait: Coroutine[Any, Any, None] | None) -> bool:
        """Waits, unless the client leaves first."""
        if wait is None:
            await asyncio.sleep(0)
        else:
            waiting = asyncio.ensure_future(wait)
            try:
                await asyncio.wait({waiting, self._gone}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
        return not self._gone.done()

    async def drop(self) -> None:
        """Closes the socket under the response."""
        for connection in [each for each in self._connections if each.client == self._address]:
            connection.transport.close()
        await asyncio.wait({self._gone}, timeout=_SECONDS_TO_CLOSE)

    def forget(self) -> None:
        self._gone.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Nothing:
    """No answer, for a client that left in the middle of its request."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 499, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def application(emulator: Emulator, connections: set[Any]) -> Starlette:
    """The emulator as an ASGI application over the connections of the server it runs on."""

    async def endpoint(request: HttpRequest) -> _Answering | _Nothing:
        at = emulator.clock.now()
        try:
            body = await request.body()
        except ClientDisconnect:
            return _Nothing()
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = Request(
            method=request.method,
            path=request.url.path,
            headers=headers,
            body=body,
            query=request.url.query,
        )
        return _Answering(emulator, emulator.receive(received, at=at), connections)

    return Starlette(routes=[Route("/{path:path}", endpoint, methods=_METHODS)])


class QuietServer(uvicorn.Server):
    """uvicorn that writes no logs, leaves signals alone, and stops when told instead of at its next tick."""

    def __init__(self, emulator: Emulator) -> None:
        connections: set[Any] = set()
        super().__init__(
            uvicorn.Config(
                application(emulator, connections),
                http=_SilentProtocol,
                ws="none",
                lifespan="off",
                loop="asyncio",
                log_config=None,
                date_header=False,
                server_header=False,
            )
        )
        self.server_state.connections = connections
        self.ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told_to_stop = asyncio.Event()

    def run_on(self, bound: socket.socket) -> None:
        """Serves until `stop` is called from another thread."""
        try:
            asyncio.run(self._serve([bound]))
        finally:
            self.ready.set()

    def stop(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._told_to_stop.set)

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self.on_tick(0)
        self.ready.set()
        await self._told_to_stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Closes every connection; answers under way notice that their client has gone."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.close()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_SECONDS_TO_CLOSE)


class _SilentProtocol(H11Protocol):
    """HTTP/1.1 without access logs, whatever the logging of the process around it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.access_log = False
