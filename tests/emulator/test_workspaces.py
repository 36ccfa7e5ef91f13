"""What one workspace caches, another does not see; on Bedrock the organization shares."""

import asyncio

import anthropic
import pytest

MARK = {"type": "ephemeral"}
TALK = [{"role": "user", "content": [{"type": "text", "text": "one two", "cache_control": MARK}]}]


def read_and_written(api, **options):
    usage = api.send(TALK, **options).usage
    return usage.cache_read_input_tokens, usage.cache_creation_input_tokens


def test_the_same_request_in_another_workspace_misses(api):
    """T41."""
    assert read_and_written(api, workspace_id="wrkspc_one") == (0, 2)
    assert read_and_written(api, workspace_id="wrkspc_two") == (0, 2)
    assert read_and_written(api, workspace_id="wrkspc_one") == (2, 0)
    assert read_and_written(api) == (0, 2)


def test_on_bedrock_workspaces_share_what_the_organization_cached(emulated):
    """T41."""
    api = emulated(platform="bedrock")
    assert read_and_written(api, workspace_id="wrkspc_one") == (0, 2)
    assert read_and_written(api, workspace_id="wrkspc_two") == (2, 0)


def test_every_answer_names_the_workspace_it_was_made_in(api):
    assert api.send(TALK, workspace_id="wrkspc_one")._workspace_id == "wrkspc_one"
    assert api.send(TALK)._workspace_id.startswith("wrkspc_")
    with pytest.raises(anthropic.BadRequestError) as refused:
        api.send([], workspace_id="wrkspc_one")
    assert refused.value.workspace_id == "wrkspc_one"


def test_the_workspace_of_an_async_client_counts_as_well(api):
    async def ask(workspace):
        async with anthropic.AsyncAnthropic(api_key="key", base_url=api.url) as client:
            request = {"model": "claude-opus-4-8", "max_tokens": 9, "messages": TALK}
            message = await client.messages.create(**request, workspace_id=workspace)
        return message._workspace_id, message.usage.cache_read_input_tokens

    assert asyncio.run(ask("wrkspc_one")) == ("wrkspc_one", 0)
    assert asyncio.run(ask("wrkspc_two")) == ("wrkspc_two", 0)
    assert asyncio.run(ask("wrkspc_two")) == ("wrkspc_two", 2)
