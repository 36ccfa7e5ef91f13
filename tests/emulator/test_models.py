"""Which models there are, and by which ids."""

import pytest

from convcache.emulator.catalog import MODELS, find_model


@pytest.mark.parametrize(
    ("id_", "name"),
    [
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("claude-opus-4-5-20251101", "claude-opus-4-5"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5"),
        ("global.anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
        ("anthropic.claude-opus-4-8", "claude-opus-4-8"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("claude-3-5-haiku-20241022", "claude-haiku-3-5"),
    ],
)
def test_a_model_goes_by_several_ids(id_, name):
    assert find_model(id_).name == name


@pytest.mark.parametrize(
    "id_", ["", "claude", "gpt-5", "claude-opus-4-8-20990101", "us.anthropic.", "anthropic.claude-"]
)
def test_what_is_no_model_is_not_found(id_):
    assert find_model(id_) is None


def test_the_models_are_listed_and_told_one_by_one(api):
    listed = list(api.client.models.list())
    assert [model.id for model in listed] == [model.id for model in MODELS]
    one = api.client.models.retrieve("claude-haiku-4-5")
    assert (one.id, one.display_name, one.created_at.year) == (
        "claude-haiku-4-5-20251001",
        "Claude Haiku 4.5",
        2025,
    )
    assert api.http.get(f"{api.url}/v1/models/nobody", headers={"x-api-key": "k"}).status_code == 404


def test_an_alias_is_answered_with_its_snapshot_and_shares_its_cache(api):
    mark = {"cache_control": {"type": "ephemeral"}}
    assert api.send("one two", model="claude-haiku-4-5", **mark).model == "claude-haiku-4-5-20251001"
    assert api.billed("one two", model="claude-haiku-4-5-20251001", **mark) == (2, 0, 0)


def test_what_is_no_route_is_not_found(api):
    assert api.raw({}, path="/v1/complete").json()["error"]["type"] == "not_found_error"
    assert api.http.get(f"{api.url}/v1/messages", headers={"x-api-key": "k"}).status_code == 405
