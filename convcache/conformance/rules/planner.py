"""Rules that concern who plans and pays, not the endpoint: convcache's own tests look.

Knows statements only. Must not know how they are kept.
"""

from typing import Final

from convcache.conformance.rule import Rule

OWN: Final = (
    Rule(
        id="T42",
        proves=("E12",),
        source="PRICE-Sep, PRICE-Nov",
        says="Each model has its prices; a batch halves them, a geography adds a tenth, Haiku 5.5 has a second tier.",
    ),
    Rule(
        id="T45",
        proves=("B15",),
        source="SDK",
        says="Breakpoints are taken off blocks only: a `cache_control` in a tool's input or schema stays.",
    ),
    Rule(
        id="T46",
        proves=("C5",),
        source="derived",
        says="Marking the last tail again reads everything, however much a turn adds.",
    ),
    Rule(
        id="T47",
        proves=("B2", "B6", "B9", "I5"),
        source="derived",
        says="A planned request has at most four breakpoints in a legal order, and is otherwise as it was.",
    ),
    Rule(
        id="T48",
        proves=("E3",),
        source="open (U13)",
        says="A request that failed moves no breakpoint: the next one still reads.",
    ),
)
"""The rows that no endpoint is asked about."""
