"""Request bodies to compare, and what `assert_prefix_stable` says of them."""

import pytest

from convcache.testing import assert_prefix_stable

GUIDE = "A sentence of the guide that the model answers from. " * 100


def body(*said, **fields):
    messages = [
        {"role": ("user", "assistant")[index % 2], "content": words} for index, words in enumerate(said)
    ]
    return {"model": "claude-opus-5", "max_tokens": 5, "system": GUIDE, "messages": messages, **fields}


def marked(block):
    return {**block, "cache_control": {"type": "ephemeral"}}


def text(words):
    return {"type": "text", "text": words}


def refusal(*requests):
    with pytest.raises(AssertionError) as caught:
        assert_prefix_stable(requests)
    return str(caught.value).splitlines()


def differing_path(*requests):
    return refusal(*requests)[0].partition(": ")[2].removesuffix(" differs.")
