"""The API to test against: the emulator on a real port, on a clock that moves only when told."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import pytest
from anthropic import Anthropic, AsyncAnthropic

from convcache.emulator import Emulator, EmulatorServer, VirtualClock

START = datetime(2026, 11, 22, 9, tzinfo=UTC)


@pytest.fixture
def emulator() -> Emulator:
    return Emulator(clock=VirtualClock(START))


@pytest.fixture
def url(emulator: Emulator) -> Iterator[str]:
    with EmulatorServer(emulator) as server:
        yield server.url


@pytest.fixture
def client(url: str) -> Iterator[Anthropic]:
    with Anthropic(base_url=url, api_key="made-up", max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(url: str) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=url, api_key="made-up", max_retries=0) as client:
        yield client


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
