"""Runs rules against an endpoint, one after the other, and turns what happens into outcomes.

Knows rules, probes and verdicts. Must not know any rule, nor how outcomes are shown.
"""

import warnings
from collections.abc import Iterable, Iterator

import attrs

from convcache.conformance.endpoint import Endpoint
from convcache.conformance.outcome import CannotTell, Differs, NotRun, Outcome, Verdict
from convcache.conformance.probe import BottomlessPurse, Probe, Purse
from convcache.conformance.rule import NO_TIME, Rule


@attrs.frozen(kw_only=True)
class Run:
    """How a table is run.

    Attributes:
        endpoint: Where requests go.
        model: The model to ask, where the rule leaves the choice.
        purse: Who pays.
        patient: Whether real minutes may pass.
        platform: Whose rules are expected where platforms differ.
    """

    endpoint: Endpoint
    model: str
    purse: Purse = attrs.field(factory=BottomlessPurse)
    patient: bool = False
    platform: str = "claude"

    def outcomes(self, rules: Iterable[Rule]) -> Iterator[tuple[Rule, Outcome]]:
        """Each rule with its outcome, as soon as it is known."""
        for rule in rules:
            yield rule, self.outcome(rule)

    def outcome(self, rule: Rule) -> Outcome:
        """The outcome of one rule. Hits are best effort on a real endpoint, so what differs is looked at twice."""
        first = self._looked(rule)
        if first.verdict != "differ" or self.endpoint.virtual:
            return first
        second = self._looked(rule)
        sent = (*first.sent, *second.sent)
        if second.verdict == "differ":
            return attrs.evolve(second, observed=f"twice: {second.observed}", sent=sent)
        return attrs.evolve(second, observed=f"{second.observed} (once before: {first.observed})", sent=sent)

    def _looked(self, rule: Rule) -> Outcome:
        if rule.check is None:
            return Outcome(verdict="not run", observed="is about convcache itself; its tests look")
        if rule.waits > NO_TIME and not (self.endpoint.virtual or self.patient):
            minutes = rule.waits.total_seconds() / 60
            return Outcome(
                verdict="not run", observed=f"waits {minutes:.0f} real minutes; --slow allows them"
            )
        probe = Probe(
            endpoint=self.endpoint,
            model=rule.model_for(self.model),
            purse=self.purse,
            patient=self.patient,
            platform=self.platform,
        )
        verdict, observed = _seen(rule, probe)
        return Outcome(verdict=verdict, observed=observed, sent=tuple(probe.sent))


def _seen(rule: Rule, probe: Probe) -> tuple[Verdict, str]:
    if rule.check is None:
        return "not run", ""
    try:
        with warnings.catch_warnings():
            # The SDK's advice on models and parameters is for those who chose them.
            warnings.simplefilter("ignore")
            rule.check(probe)
    except Differs as difference:
        return "differ", str(difference)
    except CannotTell as reason:
        return "unknown", str(reason)
    except NotRun as reason:
        return "not run", str(reason)
    except Exception as error:  # noqa: BLE001 - whatever an endpoint answers, the other rules are still looked at
        return "unknown", f"{type(error).__name__}: {error}"
    return "agree", "; ".join(probe.notes)
