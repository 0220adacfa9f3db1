"""Markdown tables out of rows of results."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def spread(values: Sequence[float], digits: int = 1, factor: float = 100) -> str:
    """Mean ± standard deviation over the seeds, in percent by default."""
    scaled = [factor * value for value in values]
    deviation = f" ± {statistics.stdev(scaled):.{digits}f}" if len(scaled) > 1 else ""
    return f"{statistics.mean(scaled):.{digits}f}{deviation}"


def where(rows: Sequence[Row]) -> str:
    """Hardware, versions, commits and dates of the rows, in one sentence."""

    def each(name: str) -> str:
        return ", ".join(sorted({str(row["environment"][name]) for row in rows}))

    parts = [
        each("processor"),
        f"{each('threads')} thread(s)",
        f"torch {each('torch')}",
        f"commit {each('commit')}",
        each("date"),
    ]
    return ", ".join(parts) + ".\n"


def grouped(rows: Iterable[Row], *names: str) -> dict[tuple, list[Row]]:
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups
