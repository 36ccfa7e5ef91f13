"""Plain English: greetings, answers drawn from what the system prompt says, acknowledgements.

Knows what was heard. Must not know requests, tools' schemas or tokens.
"""

import re
from collections.abc import Sequence
from typing import Final

from convcache.emulator.replies.heard import Heard
from convcache.emulator.replies.passages import Passage, best, passages, sentences, stems

_GREETING: Final = re.compile(
    r"^\W*(hello|hi|hey|good (morning|afternoon|evening)|greetings)\b", re.IGNORECASE
)
_THANKS: Final = re.compile(r"^\W*(thanks|thank you|thx|cheers|great|perfect)\b", re.IGNORECASE)
_FAREWELL: Final = re.compile(r"^\W*(bye|goodbye|see you|good night)\b", re.IGNORECASE)
_MORE: Final = re.compile(
    r"^\W*((yes|ok|okay|sure|and|please|tell me|say|some|a bit|anything|what)\W*)*"
    r"(more|else|go on|continue|next|why|keep going|yes|ok|okay|sure|and)\W*(please)?\W*$",
    re.IGNORECASE,
)
_FEW: Final = 4
_SHORT: Final = 160
_QUOTED: Final = 240
_REMEMBERED: Final = 20
"""Answers looked through for what was said already."""

_OPENINGS: Final = (
    "",
    "In short: ",
    "Here is what applies. ",
    "As far as my instructions go: ",
    "Good question. ",
)
_MORE_OPENINGS: Final = ("There is more. ", "To go on: ", "Also worth knowing: ", "A further point: ")
_CLOSINGS: Final = (
    "Say “more” if you want me to go on.",
    "Shall I go into detail?",
    "Tell me which part matters to you and I will look closer.",
    "",
)
_ACKNOWLEDGED: Final = (
    "I understand you as saying: {said}",
    "Let me make sure I have it right. You wrote: {said}",
    "Noted. This is what I take from it: {said}",
)
_AT_A_LOSS: Final = (
    "My instructions say nothing about that, so I would rather ask than guess: what would a good answer look like?",
    "I have nothing to draw on for this one. Which part should I look at first?",
    "I cannot add facts of my own here, but I am keeping it in mind for what comes next.",
)


def answer(heard: Heard, *, seed: int) -> str:
    """What to say to the last user turn."""
    if heard.results:
        return _from_results(heard)
    words = len(stems(heard.text))
    if _GREETING.match(heard.text) and words <= _FEW:
        return _greeting(heard)
    if _THANKS.match(heard.text) and words <= _FEW:
        return "You are welcome. Is there anything else you would like to look at?"
    if _FAREWELL.match(heard.text) and words <= _FEW:
        return "Goodbye! Come back whenever you like; I will pick up where we stopped."
    return _from_passages(heard, seed) or _acknowledgement(heard, seed)


def thought(text: str, turn: int) -> str:
    """What goes through one's mind before answering."""
    subject = _quoted(text) if text else "what the tools returned"
    start = "The user opens with" if turn == 0 else "The user goes on with"
    return (
        f"{start}: {subject} I should look for what my instructions say about it, "
        "keep to that, and answer briefly before offering to go on."
    )


def before_calls(names: Sequence[str]) -> str:
    listed = " and ".join(f"`{name}`" for name in names)
    return f"Let me use {listed} to find out."


def _greeting(heard: Heard) -> str:
    subject = next(iter(passages(heard.system)), None)
    if heard.turn:
        return "Hello again! We were in the middle of things; what would you like to do next?"
    if subject is None:
        return "Hello! What would you like to talk about?"
    return f"Hello! To say what I go by: {sentences(subject.text)[0]} What would you like to know?"


def _from_results(heard: Heard) -> str:
    results = [_quoted(result) for result in heard.results if result.strip()]
    if not results:
        return "The tool ran and returned nothing to report. Shall I try it another way?"
    found = (
        results[0] if len(results) == 1 else " ".join(f"({n}) {text}" for n, text in enumerate(results, 1))
    )
    return f"That gave me an answer. Here is what came back: {found}"


def _from_passages(heard: Heard, seed: int) -> str:
    known = _facts(heard.system)
    said = "\n".join(heard.said[-_REMEMBERED:])
    new = [passage for passage in known if not _was_said(passage, said)]
    going_on = _MORE.match(heard.text) is not None
    question = _last_question(heard) if going_on else heard.text
    fitting = best(question, new) or (new if going_on else best(question, known))
    if not fitting:
        return ""
    told = fitting[0].told(question)
    if len(told) < _SHORT and len(fitting) > 1:
        told = f"{told} {fitting[1].told(question)}"
    opening = _varied(_MORE_OPENINGS if going_on else _OPENINGS, heard, seed)
    return f"{opening}{told} {_varied(_CLOSINGS, heard, seed + 1)}".strip()


def _facts(system: str) -> list[Passage]:
    """What stands under headings, if there are any: what stands before them tells a model how to behave."""
    known = passages(system)
    return [passage for passage in known if passage.heading] or list(known)


def _last_question(heard: Heard) -> str:
    """What the user really asked before asking for more."""
    questions = [text for text in heard.asked if not _MORE.match(text) and not _GREETING.match(text)]
    return questions[-1] if questions else ""


def _acknowledgement(heard: Heard, seed: int) -> str:
    opening = _varied(_ACKNOWLEDGED, heard, seed).format(said=_quoted(heard.text))
    return f"{opening} {_varied(_AT_A_LOSS, heard, seed + heard.turn)}"


def _was_said(passage: Passage, said: str) -> bool:
    return any(sentence in said for sentence in passage.sentences)


def _varied(choices: Sequence[str], heard: Heard, seed: int) -> str:
    return choices[(seed + heard.turn + len(heard.text)) % len(choices)]


def _quoted(text: str) -> str:
    text = " ".join(text.split())
    return f"“{text if len(text) <= _QUOTED else text[:_QUOTED].rsplit(' ', 1)[0] + ' …'}”"
