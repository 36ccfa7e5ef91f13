"""The documented rules of the Messages API's cache as a table that any endpoint can be held to.

Knows the SDK and HTTP only. Must not know convcache's own idea of the cache, nor the emulator it judges.
"""

from convcache.conformance.endpoint import Endpoint
from convcache.conformance.outcome import Outcome, Sent, Verdict
from convcache.conformance.probe import BottomlessPurse, Probe, Purse
from convcache.conformance.rule import Rule
from convcache.conformance.rules import RULES
from convcache.conformance.run import Run

__all__ = [
    "RULES",
    "BottomlessPurse",
    "Endpoint",
    "Outcome",
    "Probe",
    "Purse",
    "Rule",
    "Run",
    "Sent",
    "Verdict",
]
