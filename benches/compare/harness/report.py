"""Computes medians, prints tables and checks promises."""

from __future__ import annotations

import statistics
from dataclasses import dataclass


class Table:
    """A text table. The first column is aligned to the left, all other columns to the right."""

    def __init__(self, *titles: str):
        self._rows = [titles]

    def row(self, *cells: str) -> None:
        self._rows.append(cells)

    def __str__(self) -> str:
        widths = [max(len(row[column]) for row in self._rows) for column in range(len(self._rows[0]))]
        lines = []
        for row in self._rows:
            cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
            lines.append("  ".join(cells).rstrip())
        return "\n".join(lines)


@dataclass(frozen=True)
class Promise:
    """A promise: a measured figure and the bound that it must keep."""

    what: str
    # None if the figure was not measured.
    measured: float | None
    bound: float
    # Whether the bound is an upper bound. Otherwise it is a lower bound.
    is_most: bool = False
    unit: str = ""
    # Whether the promise is only an aim, which is reported but does not change the exit code.
    is_aim: bool = False

    @property
    def held(self) -> bool | None:
        if self.measured is None:
            return None
        return self.measured <= self.bound if self.is_most else self.measured >= self.bound

    @property
    def verdict(self) -> str:
        words = ("reached", "not reached") if self.is_aim else ("held", "NOT HELD")
        return {True: words[0], False: words[1], None: "not measured"}[self.held]

    def to_json(self) -> dict:
        return {
            "what": self.what,
            "measured": self.measured,
            "bound": self.bound,
            "is_most": self.is_most,
            "is_aim": self.is_aim,
            "verdict": self.verdict,
        }


def promise_table(promises: list) -> Table:
    table = Table("promise", "measured", "bound", "")
    for promise in promises:
        measured = "" if promise.measured is None else f"{promise.measured:.3g}{promise.unit}"
        sign = "<=" if promise.is_most else ">="
        bound = f"{'aim ' if promise.is_aim else ''}{sign} {promise.bound:g}{promise.unit}"
        table.row(promise.what, measured, bound, promise.verdict)
    return table


def all_held(promises: list) -> bool:
    """Whether no promise was broken. Ignores aims, and promises that were not measured."""
    return not any(promise.held is False for promise in promises if not promise.is_aim)


def median(values) -> float:
    return statistics.median(list(values))


def span(values) -> str:
    """Formats the shortest and the longest of several times, which are in seconds."""
    values = list(values)
    return f"{min(values):.2f}..{max(values):.2f}"


def ratio(over, under) -> float | None:
    """Returns over / under; None if either is missing."""
    return over / under if over is not None and under is not None else None
