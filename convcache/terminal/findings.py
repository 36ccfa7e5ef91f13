"""A verification in words and as JSON: what was asked, what each rule came to, what it cost.

Pure: rules and outcomes in, text or JSON values out.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

import attrs

from convcache.conformance import RULES, Outcome, Rule, Sent
from convcache.core.usage import Usage
from convcache.terminal.render import duration, money
from convcache.terminal.screen import printable
from convcache.terminal.spending import dollars

Findings = Sequence[tuple[Rule, Outcome]]

_VERDICTS: Final = ("agree", "differ", "unknown", "not run")
_ROW: Final = "{:8} {:22} {}"


@attrs.frozen(kw_only=True)
class Circumstances:
    """Under which a verification was made."""

    endpoint: str
    """Its kind and where it is, without credentials."""
    date: str
    versions: str
    model: str
    limit: Decimal


def lines(findings: Findings, under: Circumstances) -> Iterator[str]:
    """The report as text."""
    counts = Counter(outcome.verdict for _, outcome in findings)
    yield "convcache verify: " + ", ".join(f"{counts[verdict]} {verdict}" for verdict in _VERDICTS)
    yield f"endpoint  {under.endpoint}"
    yield f"date      {under.date}"
    yield f"versions  {under.versions}"
    yield f"model     {under.model}, where the rule leaves the choice"
    yield f"spent     {money(spent(findings))} at list prices, of {money(under.limit)}"
    yield ""
    for rule, outcome in findings:
        yield _ROW.format(outcome.verdict, rule.id, rule.says)
        if outcome.verdict != "agree" or rule.id.startswith("U"):
            yield _ROW.format("", "", f"-> {printable(outcome.observed)}")
    yield ""
    yield f"{', '.join(rule.id for rule in RULES if not rule.of_endpoint)} are about convcache; its tests look."


def document(findings: Findings, under: Circumstances) -> dict[str, Any]:
    """The report as JSON. Dollars are strings: they are exact."""
    return {
        "endpoint": under.endpoint,
        "date": under.date,
        "versions": under.versions,
        "model": under.model,
        "spent": f"{spent(findings):f}",
        "max_cost": f"{under.limit:f}",
        "totals": {verdict: sum(o.verdict == verdict for _, o in findings) for verdict in _VERDICTS},
        "rules": [_entry(rule, outcome) for rule, outcome in findings],
    }


def _entry(rule: Rule, outcome: Outcome) -> dict[str, Any]:
    return {
        "id": rule.id,
        "proves": list(rule.proves),
        "source": rule.source,
        "says": rule.says,
        "verdict": outcome.verdict,
        "observed": outcome.observed,
        **_sums(outcome.sent),
    }


def plan(findings: Findings, *, waits: bool) -> Iterator[str]:
    """What a verification would send and spend, from a rehearsal; rules that wait count if they may."""
    yield "Nothing was sent. From a rehearsal on the emulator, a verification would send about:"
    yield ""
    for rule, outcome in findings:
        yield _ROW.format("", rule.id, rule.says).lstrip()
        yield _ROW.format("", "", f"-> {_would_send(rule, outcome.sent)}")
    yield ""
    counted = _counted(findings, waits=waits)
    requests = sum(len(outcome.sent) for _, outcome in counted)
    yield f"{requests} requests for about {money(spent(counted))} at list prices"
    if len(counted) < len(findings):
        left_out = ", ".join(rule.id for rule, _ in findings if rule.waits)
        yield f"without what waits in real time, which --slow allows: {left_out}"


def planned(findings: Findings, *, waits: bool) -> dict[str, Any]:
    """The same as JSON."""
    rules = [
        {
            "id": rule.id,
            "says": rule.says,
            "waits_seconds": int(rule.waits.total_seconds()),
            "models": sorted({sent.model for sent in outcome.sent}),
            **_sums(outcome.sent),
        }
        for rule, outcome in findings
    ]
    total = spent(_counted(findings, waits=waits))
    return {"dry_run": True, "spent": f"{total:f}", "rules": rules}


def _counted(findings: Findings, *, waits: bool) -> Findings:
    return [(rule, outcome) for rule, outcome in findings if waits or not rule.waits]


def _would_send(rule: Rule, sent: Sequence[Sent]) -> str:
    total, models = _usage(sent), ", ".join(sorted({each.model for each in sent}))
    waits = f", over {duration(rule.waits)} unless the clock is virtual" if rule.waits else ""
    return (
        f"{len(sent)} requests to {models}: {total.written:,} tokens written, {total.read:,} read, "
        f"{total.uncached:,} uncached, {total.output:,} output{waits}; {money(_cost(sent))}"
    )


def spent(findings: Findings) -> Decimal:
    """What all requests cost."""
    return sum((_cost(outcome.sent) for _, outcome in findings), start=Decimal(0))


def _cost(sent: Iterable[Sent]) -> Decimal:
    return sum((dollars(each.model, each.usage) or Decimal(0) for each in sent), start=Decimal(0))


def _usage(sent: Iterable[Sent]) -> Usage:
    return sum((Usage.of(each.usage) for each in sent), start=Usage())


def _sums(sent: Sequence[Sent]) -> dict[str, Any]:
    total = _usage(sent)
    return {
        "requests": len(sent),
        "read": total.read,
        "written": total.written,
        "uncached": total.uncached,
        "output": total.output,
        "cost": f"{_cost(sent):f}",
    }
