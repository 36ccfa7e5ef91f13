"""What the examples show, runs."""

import re
import runpy
from pathlib import Path

import anyio
import httpx2
import pytest
from anthropic import AsyncAnthropic

from convcache import CacheMiddleware

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("tool_loop", "anthropic"),
        ("tool_runner", "anthropic"),
        ("langchain_agent", "langchain_anthropic"),
        ("pydantic_ai_agent", "pydantic_ai"),
    ],
)
def test_the_agents_run_against_the_emulator_and_pay_less(monkeypatch, capsys, name, needs):
    pytest.importorskip(needs, reason=f"{name} needs an extra")
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    last = capsys.readouterr().out.splitlines()[-1]
    paid, uncached = (float(price) for price in re.findall(r"\$([\d.]+)", last))

    assert paid < 0.75 * uncached


async def test_the_web_chat_serves_many_users_who_share_the_instructions(url, emulator):
    application = runpy.run_path(str(EXAMPLES / "web_chat.py"))["application"]
    placing = CacheMiddleware(clock=emulator.clock.now)
    async with AsyncAnthropic(base_url=url, api_key="made-up", middleware=[placing]) as client:
        transport = httpx2.ASGITransport(application(client))
        async with httpx2.AsyncClient(transport=transport, base_url="http://shop") as browser:
            await browser.post("/chat/ada", content="hello")
            async with anyio.create_task_group() as group:
                for user in ("ben", "cyd", "dan", "eve"):
                    group.start_soon(talk, browser, user)

    first, *others = [request.usage for request in emulator.requests]
    assert first.written > 3_000
    assert len(others) == 8
    assert all(usage.read > 3_000 for usage in others)


async def talk(browser: httpx2.AsyncClient, user: str) -> None:
    for said in ("hello", "do you sell tandems?"):
        answer = await browser.post(f"/chat/{user}", content=said)
        assert answer.text.startswith("data: ")
