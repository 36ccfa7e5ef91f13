"""The fixture a user gets from `pytest_plugins = ["convcache.testing"]`."""

import subprocess
import sys
from datetime import timedelta

import anthropic
import httpx2
import pytest

pytest_plugins = ["pytester"]

GUIDE = "A sentence of the guide that the model answers from. " * 100
MARKED = [{"type": "text", "text": GUIDE, "cache_control": {"type": "ephemeral"}}]


def asked(client, words="hello", **options):
    return client.messages.create(
        model="claude-opus-5",
        max_tokens=50,
        system=MARKED,
        messages=[{"role": "user", "content": words}],
        **options,
    )


def test_a_client_writes_to_the_cache_and_another_reads_from_it(anthropic_emulator):
    asked(anthropic_emulator.client())
    usage = asked(anthropic_emulator.client(), "hello again").usage

    assert usage.cache_read_input_tokens == anthropic_emulator.entries[0].tokens > 512


async def test_an_async_client_shares_the_cache_and_leaves_no_connection_open(anthropic_emulator):
    client = anthropic_emulator.async_client()
    await asked(client)
    async with client.messages.stream(
        model="claude-opus-5", max_tokens=50, system=MARKED, messages=[{"role": "user", "content": "again"}]
    ) as stream:
        message = await stream.get_final_message()

    assert message.usage.cache_read_input_tokens > 512
    assert client._client._transport._pool.connections == []


def test_an_entry_expires_when_the_clock_is_moved(anthropic_emulator):
    client = anthropic_emulator.client()
    asked(client)
    anthropic_emulator.clock.advance(timedelta(minutes=5))

    assert anthropic_emulator.entries == []
    assert asked(client).usage.cache_read_input_tokens == 0


def test_requests_tell_what_was_sent_and_billed(anthropic_emulator):
    asked(anthropic_emulator.client(), "what was sent")
    (record,) = anthropic_emulator.requests

    assert record.body["messages"] == [{"role": "user", "content": "what was sent"}]
    assert (record.status, record.usage.read) == (200, 0)
    assert record.usage.written > 512


def test_replies_can_be_scripted_as_text_or_as_messages(anthropic_emulator):
    anthropic_emulator.script("first", {"content": [{"type": "text", "text": "second"}]})
    client = anthropic_emulator.client()

    assert [asked(client).content[0].text for _ in range(2)] == ["first", "second"]


def test_a_fault_meets_the_next_request_only(anthropic_emulator):
    anthropic_emulator.fail(status=529)
    client = anthropic_emulator.client(max_retries=0)

    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        asked(client)
    assert asked(client).usage.output_tokens > 0


def test_the_options_of_a_client_are_the_sdks(anthropic_emulator):
    with httpx2.Client() as http:
        client = anthropic_emulator.client(max_retries=7, http_client=http, api_key="other")

        assert (client.max_retries, client._client, client.api_key) == (7, http, "other")


async def test_a_proxy_in_the_environment_is_left_alone(anthropic_emulator, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    assert asked(anthropic_emulator.client(max_retries=0)).usage.output_tokens > 0
    assert (await asked(anthropic_emulator.async_client(max_retries=0))).usage.output_tokens > 0


def test_a_user_loads_it_by_name_and_overrides_the_settings(pytester):
    pytester.makeconftest(
        """
        import pytest
        from convcache.testing import Settings

        pytest_plugins = ["convcache.testing"]

        @pytest.fixture
        def emulator_settings():
            return Settings(minimum=1)
        """
    )
    pytester.makepyfile(
        """
        from convcache.testing import assert_prefix_stable

        def test_a_short_prompt_is_cached(anthropic_emulator):
            client = anthropic_emulator.client()
            for time in ("10:41:03", "10:41:07"):
                client.messages.create(
                    model="claude-opus-5",
                    max_tokens=5,
                    system="Be brief. It is " + time,
                    cache_control={"type": "ephemeral"},
                    messages=[{"role": "user", "content": "hello"}],
                )
            assert len(anthropic_emulator.entries) == 2
            assert_prefix_stable(anthropic_emulator.requests)
        """
    )

    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*Request 2 does not begin as request 1 did: system.0.text differs.",
            '*before: "Be brief. It is 10:41:03"',
            '*now:    "Be brief. It is 10:41:07"',
        ]
    )
    result.stdout.no_fnmatch_line("*raise AssertionError*")


@pytest.mark.parametrize("missing", ["uvicorn", "starlette"])
def test_without_the_extra_it_names_the_remedy(missing):
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from convcache.testing import AnthropicEmulator, assert_cached\n"
        "AnthropicEmulator()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.stderr.splitlines()[-1] == (
        f"convcache.errors.MissingExtraError: This needs the package '{missing}', which is not installed. "
        "Run: pip install 'convcache[emulator]'"
    )
