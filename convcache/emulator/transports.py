"""httpx2 transports that hand requests to an emulator in the same process, chunk by chunk.

Knows httpx2 and how a broken connection looks to it. Must not know what a request means.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import NoReturn

import httpx2

from convcache.emulator.engine import Emulator
from convcache.emulator.wire import Pending, Request, Response


class EmulatorTransport(httpx2.BaseTransport):
    """For `httpx2.Client`: no socket, but streams, delays, cuts and read timeouts as with one."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        pending = _received(self._emulator, request)
        if not self._emulator.clock.wait_until(pending.starts_at, patience=_patience(request)):
            raise httpx2.ReadTimeout("The read operation timed out", request=request)
        response = _started(self._emulator, pending, request)
        return httpx2.Response(
            response.status, headers=response.headers, stream=_Stream(self._emulator, response, request)
        )


class AsyncEmulatorTransport(httpx2.AsyncBaseTransport):
    """For `httpx2.AsyncClient`: no socket, but streams, delays, cuts and read timeouts as with one."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        pending = _received(self._emulator, request)
        await _waited(self._emulator, pending.starts_at, request)
        response = _started(self._emulator, pending, request)
        stream = _AsyncStream(self._emulator, response, request)
        return httpx2.Response(response.status, headers=response.headers, stream=stream)


class _Stream(httpx2.SyncByteStream):
    def __init__(self, emulator: Emulator, response: Response, request: httpx2.Request) -> None:
        self._emulator, self._response, self._request = emulator, response, request

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._response.chunks:
            if not self._emulator.clock.wait_until(chunk.at, patience=_patience(self._request)):
                raise httpx2.ReadTimeout("The read operation timed out", request=self._request)
            yield chunk.data
        if self._response.cut:
            _break_off(self._request)


class _AsyncStream(httpx2.AsyncByteStream):
    def __init__(self, emulator: Emulator, response: Response, request: httpx2.Request) -> None:
        self._emulator, self._response, self._request = emulator, response, request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._response.chunks:
            await _waited(self._emulator, chunk.at, self._request)
            yield chunk.data
        if self._response.cut:
            _break_off(self._request)


def _received(emulator: Emulator, request: httpx2.Request) -> Pending:
    return emulator.receive(
        Request(
            method=request.method,
            path=request.url.path,
            headers={name.lower(): value for name, value in request.headers.items()},
            body=request.content,
            query=request.url.query.decode("ascii"),
        ),
        at=emulator.clock.now(),
    )


def _started(emulator: Emulator, pending: Pending, request: httpx2.Request) -> Response:
    if pending.dropped:
        raise httpx2.RemoteProtocolError("Server disconnected without sending a response.", request=request)
    return pending.start(emulator.clock.now())


def _break_off(request: httpx2.Request) -> NoReturn:
    raise httpx2.RemoteProtocolError(
        "peer closed connection without sending complete message body (incomplete chunked read)",
        request=request,
    )


def _patience(request: httpx2.Request) -> float | None:
    timeout: float | None = request.extensions.get("timeout", {}).get("read")
    return timeout


async def _waited(emulator: Emulator, at: datetime, request: httpx2.Request) -> None:
    if at <= emulator.clock.now():
        return
    try:
        async with asyncio.timeout(_patience(request)):
            await emulator.clock.async_wait_until(at)
    except TimeoutError as error:
        raise httpx2.ReadTimeout("The read operation timed out", request=request) from error
