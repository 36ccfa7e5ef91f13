"""Thinking that comes back: unaltered everywhere, and on newer models only behind what it was made for."""

import anthropic
import pytest

MARK = {"type": "ephemeral"}
BOUND = "claude-opus-5-5"
CONTROLS = ["thinking-binding-controls-2026-08-01"]
MOVED = (
    "messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound to a different conversation. "
    'Remove the block, or set `thinking.block_binding.prefix_mismatch_behavior` to "drop_block".'
)
REMEDY = (
    " That setting requires the `thinking-binding-controls-2026-08-01` value in the `anthropic-beta` header."
)
TOOL = {"name": "look", "input_schema": {"type": "object"}}
DROPPING = {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}


def text(words, **extra):
    return {"type": "text", "text": words, **extra}


def user(*blocks):
    return {"role": "user", "content": [text(b) if isinstance(b, str) else b for b in blocks]}


class Talk:
    """A conversation with a thinking model: two questions answered, a third to ask."""

    def __init__(self, api, model=BOUND):
        self.api, self.model, self.messages = api, model, []
        self.system, self.tools = "be kind", [TOOL]
        for number, question in enumerate(("first words", "second words")):
            self.messages.append(user(question))
            thought = {"type": "thinking", "thinking": "hm hm", "signature": f"made{number}"}
            api.emulator.script({"content": [thought, text("an answer")]})
            content = self.ask().content
            self.messages.append({"role": "assistant", "content": [block.to_dict() for block in content]})
        self.messages.append(user("third words"))

    def ask(self, **body):
        request = {"thinking": {"type": "adaptive"}, **body}
        return self.api.client.beta.messages.create(
            model=self.model,
            max_tokens=50,
            messages=self.messages,
            system=self.system,
            tools=self.tools,
            **request,
        )

    def refused(self, **body):
        with pytest.raises(anthropic.BadRequestError) as refused:
            self.ask(**body)
        return refused.value.body["error"]["message"]


@pytest.fixture
def talk(api):
    return Talk(api)


def test_thinking_is_taken_back_behind_what_it_was_made_for(talk):
    assert talk.ask(betas=CONTROLS).input_transformations == []


def edit_question(talk):
    talk.messages[0] = user("other words")


def edit_system(talk):
    talk.system = "be terse"


def edit_tools(talk):
    talk.tools = [{**TOOL, "description": "looks"}]


def add_a_block(talk):
    talk.messages[0]["content"].append(text("by the way"))


@pytest.mark.parametrize("edit", [edit_question, edit_system, edit_tools, add_a_block])
def test_behind_an_edited_prefix_it_is_refused(talk, edit):
    """G5: the header is asked for where it is missing."""
    edit(talk)
    assert talk.refused() == MOVED + REMEDY
    assert talk.refused(betas=CONTROLS) == MOVED


def test_other_models_do_not_look(api):
    talk = Talk(api, model="claude-opus-4-8")
    edit_question(talk)
    assert talk.ask().role == "assistant"


def test_blocks_that_fail_are_dropped_and_told_if_that_is_asked_for(talk):
    """G5: a dropped block costs nothing, and the response lists it."""
    whole = talk.ask().usage.input_tokens
    edit_question(talk)
    message = talk.ask(thinking=DROPPING, betas=CONTROLS)
    assert [(told.type, told.path, told.reason) for told in message.input_transformations] == [
        ("thinking_dropped", "messages.1.content.0", "prefix_binding_mismatch"),
        ("thinking_dropped", "messages.3.content.0", "prefix_binding_mismatch"),
    ]
    assert message.usage.input_tokens == whole - 4


def test_a_stream_tells_what_was_dropped_at_its_start(talk):
    edit_question(talk)
    request = {"model": BOUND, "max_tokens": 50, "messages": talk.messages, "system": talk.system}
    with talk.api.client.beta.messages.stream(
        **request, tools=talk.tools, thinking=DROPPING, betas=CONTROLS
    ) as stream:
        start = next(event for event in stream if event.type == "message_start")
    assert len(start.message.input_transformations) == 2


def move_marks(talk):
    talk.messages[0]["content"][0]["cache_control"] = MARK


def leave_out_the_oldest_thinking(talk):
    del talk.messages[1]["content"][0]


def add_effort_for_a_turn(talk):
    talk.messages.append({"role": "system", "output_config": {"effort": "low"}})


@pytest.mark.parametrize("edit", [move_marks, leave_out_the_oldest_thinking, add_effort_for_a_turn])
def test_some_edits_are_legal(talk, edit):
    edit(talk)
    assert talk.ask(output_config={"effort": "low"}).role == "assistant"


def test_an_edit_by_the_server_is_legal(talk):
    edits = {"edits": [{"type": "clear_thinking_20251015"}]}
    assert talk.ask(context_management=edits, betas=CONTROLS).input_transformations == []


def test_leaving_out_thinking_in_the_middle_spoils_what_follows(talk):
    thought = {"type": "thinking", "thinking": "hm", "signature": "made2"}
    talk.api.emulator.script({"content": [thought, text("an answer")]})
    content = [block.to_dict() for block in talk.ask().content]
    talk.messages += [{"role": "assistant", "content": content}, user("fourth words")]
    del talk.messages[3]["content"][0]
    assert talk.refused(betas=CONTROLS) == MOVED.replace("messages.1", "messages.5")


def test_old_accounts_are_only_told(emulated):
    talk = Talk(emulated(prefix_binding="reported"))
    edit_question(talk)
    told = talk.ask(betas=CONTROLS).input_transformations
    assert {entry.type for entry in told} == {"thinking_mismatch_allowed"}


def test_altered_thinking_in_the_latest_answer_is_refused_on_every_model(api):
    talk = Talk(api, model="claude-haiku-4-5")
    talk.messages[3]["content"][0]["thinking"] = "something else"
    assert talk.refused() == (
        "messages.3.content.0: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be "
        "modified. These blocks must remain as they were in the original response."
    )


def test_altered_thinking_before_that_is_refused_where_it_is_kept(api):
    for model, kept in (("claude-opus-4-8", True), ("claude-haiku-4-5", False)):
        talk = Talk(api, model=model)
        talk.messages[1]["content"][0]["thinking"] = "something else"
        if kept:
            assert talk.refused() == "messages.1.content.0: Invalid `signature` in `thinking` block"
        else:
            assert talk.ask().role == "assistant"


@pytest.mark.parametrize("foreign", ["accepted", "refused"])
def test_thinking_of_another_make_is_taken_on_trust_unless_told_otherwise(emulated, foreign):
    """So that what the real API signed can be replayed."""
    talk = Talk(emulated(foreign_signatures=foreign))
    talk.messages[1]["content"][0]["signature"] = "recorded"
    if foreign == "refused":
        assert talk.refused() == "messages.1.content.0: Invalid `signature` in `thinking` block"
    else:
        del talk.messages[3]["content"][0]
        assert talk.ask().role == "assistant"


def test_dropped_thinking_ends_the_cached_prefix_where_it_stood(talk):
    """Section 6: lost from that position."""
    talk.messages[0]["content"][0]["cache_control"] = MARK
    assert talk.ask(cache_control=MARK).usage.cache_creation_input_tokens == 17
    talk.messages[1]["content"][0] = {"type": "thinking", "thinking": "hm hm", "signature": "made1"}
    dropped = talk.ask(thinking=DROPPING, cache_control=MARK, betas=CONTROLS)
    assert dropped.usage.cache_read_input_tokens == 5
