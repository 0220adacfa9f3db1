"""The Data Parameters paper's own numbers, and ours beside them."""

from typing import NamedTuple

from markdown_tables import Row, spread, table, where
from record import read


class Cell(NamedTuple):
    """A published number: the run and arm, where it stands, and accuracy in percent as printed, and in the README."""

    run: str
    arm: str
    place: str
    paper: str
    code: str = ""


PUBLISHED = (
    Cell("cifar100", "baseline", "Table 1", "80.1 ± 0.2"),
    Cell("cifar100", "joint", "Table 1", "80.8 ± 0.1"),
    Cell("imagenet", "baseline", "Table 1", "70.3 ± 0.1", "70.2"),
    Cell("imagenet", "class", "Table 1", "70.8 ± 0.1", "70.5"),
    Cell("imagenet", "joint", "Table 1", "71.0 ± 0.1", "70.8"),
    Cell("webvision", "baseline", "Table 1", "66.3 ± 0.1"),
    Cell("webvision", "instance", "Table 1", "67.1 ± 0.1"),
    Cell("webvision", "joint", "Table 1", "67.5 ± 0.1"),
    Cell("cifar10-40", "baseline", "Table 2", "67.97 ± 0.62"),
    Cell("cifar10-40", "instance", "Table 2", "91.10 ± 0.70"),
    Cell("cifar10-40", "oracle", "Table 2", "94.24 ± 0.15"),
    Cell("cifar100-40", "baseline", "Table 2", "50.66 ± 0.24", "50.0"),
    Cell("cifar100-40", "instance", "Table 2", "70.93 ± 0.15", "71"),
    Cell("cifar100-40", "oracle", "Table 2", "74.18 ± 0.19"),
    Cell("cifar10-20", "instance", "supplement", "not printed"),
    Cell("cifar10-80", "instance", "supplement", "not printed"),
    Cell("cifar100-20", "instance", "supplement", "MentorNet PD + 3", "75"),
    Cell("cifar100-80", "instance", "supplement", "MentorNet PD + 22", "35"),
    Cell("random-labels", "baseline", "section 3.5", "fits them (a curve)"),
    Cell("random-labels", "class", "section 3.5", "resists (a curve)"),
)
NAMES = {
    "cifar100": "CIFAR-100, WRN-28-10",
    "imagenet": "ImageNet, ResNet-18",
    "webvision": "WebVision 2017, ResNet-18",
    "random-labels": "CIFAR-100, all labels random, VGG-16: training accuracy",
}
NAMES |= {f"cifar{k}-{p}": f"CIFAR-{k}, {p} % noise, WRN-28-10" for k in (10, 100) for p in (20, 40, 80)}


def paper_labels() -> str:
    """Every published number, and the same run here with the settings of the paper and of the code."""
    found = read("paper-labels")
    lines = [
        [NAMES[each.run], each.arm, each.place, each.paper, _ours(found, each, "paper"), each.code,
         _ours(found, each, "published")]
        for each in PUBLISHED
    ]  # fmt: skip
    head = [
        "data and model",
        "arm",
        "where",
        "printed, %",
        "ours, as printed",
        "its README, %",
        "ours, its code",
    ]
    return table(head, lines) + ("\n" + where(found) if found else "")


def _ours(found: list[Row], cell: Cell, reading: str) -> str:
    if cell.run == "random-labels" and reading == "published":
        return ""  # nothing was
    name = "fitted" if cell.run == "random-labels" else "last"
    wanted = (cell.run, cell.arm, reading)
    rows = {row["seed"]: row[name] for row in found if (row["run"], row["arm"], row["reading"]) == wanted}
    return f"{spread(list(rows.values()))} ({len(rows)})" if rows else "not run"
