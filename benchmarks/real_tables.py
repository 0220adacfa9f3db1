"""The tables of real detectors on real films: what is kept at which cost, and what the kept frames teach."""

from collections.abc import Sequence

from markdown_tables import Row, grouped, spread, table, where
from record import read

NONE = "No measurements yet.\n"
ARMS = ("untrained", "every", "random", "confidence+precision", "full")


def _of_kind(kind: str) -> list[Row]:
    return [row for row in read("real-detectors") if row["kind"] == kind]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _seconds(row: Row) -> dict[str, float]:
    return {cost["stage"]: cost["seconds"] for cost in row["costs"]}


def detectors() -> str:
    """Every cull: frames by stage, seconds by stage, how good both detectors are, and where the student is wrong."""
    found = _of_kind("cull")
    if not found:
        return NONE
    lines = []
    for row in found:
        spent, counts = _seconds(row), row["counts"]
        lines.append(
            [
                row["film"], "yes" if row["gate"] else "no",
                *(f"{counts[name]:,}" for name in ("frames", "passed", "judged", "kept")),
                f"{spent['decode'] + spent.get('gate', 0.0):.1f}", f"{spent['student prediction']:.1f}",
                f"{spent['teacher prediction']:.1f}", f"{row['seconds']:.1f}", f"{row['processor_seconds']:.1f}",
                f"{counts['frames'] / row['seconds']:.0f}",
                _percent(row["ap50"]["student"]), _percent(row["ap50"]["teacher"]),
                _percent(row["precision"]["kept"]), _percent(row["precision"]["dropped"]),
            ]
        )  # fmt: skip
    head = [
        "film", "gate", "frames", "passed", "teacher saw", "kept", "decode and gate, s", "student, s", "teacher, s",
        "in all, s", "processor, s", "frames/s", "AP50 of the student by humans, %", "of the teacher, %",
        "student's AP against the teacher: frames kept, %", "the others, %",
    ]  # fmt: skip
    return table(head, lines) + "\n" + where(found)


def gallery() -> str:
    """The README's: one line for each film, with the gate."""
    found = [row for row in _of_kind("cull") if row["gate"]]
    if not found:
        return NONE
    lines = []
    for row in found:
        counts, good, wrong = row["counts"], row["ap50"], row["precision"]
        by_humans = f"{_percent(good['student'])}, {_percent(good['teacher'])}" if good["teacher"] is not None else ""
        lines.append(
            [
                f"{row['film']} ({', '.join(row['classes'])})", f"{counts['frames']:,}", f"{counts['passed']:,}",
                f"{counts['judged']:,}", f"{counts['kept']:,}", f"{row['seconds']:.0f}", by_humans,
                f"{_percent(wrong['kept'])}, {_percent(wrong['dropped'])}",
            ]
        )  # fmt: skip
    head = [
        "film", "frames", "something new", "teacher saw", "kept", "seconds", "AP50 by humans: student, teacher, %",
        "student's AP against the teacher: on what was kept, on the rest, %",
    ]  # fmt: skip
    return table(head, lines) + "\n" + where(found)


def training() -> str:
    """What frames kept by each arm teach, judged by the later part of the film."""
    found = _of_kind("training")
    if not found:
        return NONE
    by_arm = grouped(found, "arm", "n")
    lines = []
    for (arm, n), rows in sorted(by_arm.items(), key=lambda item: (item[0][1], ARMS.index(item[0][0]))):
        beaten = by_arm.get(("random", n), []) if arm != "random" else []
        gained = _gained(rows, beaten)
        lines.append(
            [
                arm, str(n or ""), str(len(rows)), spread([row["map50"] for row in rows]),
                spread([row["map50_true"] for row in rows]),
                spread(gained) if gained else "",
                f"{sum(row.get('processor_seconds', 0.0) for row in rows) / len(rows):.0f}" if n else "",
            ]
        )  # fmt: skip
    head = [
        "frames kept by", "n", "seeds", "AP50 by the teacher, %", "AP50 by humans, %", "against random, points",
        "processor seconds of a training",
    ]  # fmt: skip
    return table(head, lines) + "\n" + where(found)


def _gained(rows: Sequence[Row], others: Sequence[Row]) -> list[float]:
    there = {row["seed"]: row["map50_true"] for row in others}
    return [row["map50_true"] - there[row["seed"]] for row in rows if row["seed"] in there]
