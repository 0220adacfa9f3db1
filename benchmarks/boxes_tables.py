"""The tables of data parameters of boxes: wrong boxes, occlusion (Fig. 2), what a step costs."""

import statistics
from collections.abc import Iterable, Sequence

from scipy.stats import ttest_1samp

from markdown_tables import Row, grouped, spread, table, where
from record import read

NONE = "No measurements yet.\n"
SETTING = ("cameras", "frames", "judged", "model", "epochs", "lr", "zoom")
FOUND = {"flip": "flipped", "shift": "shifted", "invented": "invented"}


def _rows(what: str) -> list[Row]:
    return [row for row in read("boxes") if row["what"] == what]


def _settings(rows: Iterable[Row]) -> dict[tuple, list[Row]]:
    return dict(sorted(grouped(rows, *SETTING).items()))


def _title(key: tuple) -> str:
    cameras, frames, judged, model, epochs, lr, zoom = key
    return (
        f"{model} with the weights that ship, on {frames} frames of each of {cameras} cameras, judged by {judged} of "
        f"each; epochs: {epochs}, rate {lr:g}, zoom {zoom:g}\n\n"
    )


def _name(arm: str, rate: float | None) -> str:
    return arm if rate is None else f"{arm}, rate {rate:g}"


def _gain(rows: Sequence[Row], others: Sequence[Row], figure: str) -> str:
    """Difference in points of the same seeds, with the p of a paired t-test."""
    base = {row["seed"]: row[figure] for row in others}
    gains = [row[figure] - base[row["seed"]] for row in rows if row["seed"] in base]
    if not gains:
        return ""
    p = f" (p {ttest_1samp(gains, 0).pvalue:.3f})" if len(gains) > 1 else ""  # pyright: ignore[reportAttributeAccessIssue]
    return spread(gains) + p


def noise() -> str:
    """mAP50 with wrong boxes, and who finds them."""
    found = _rows("noise")
    if not found:
        return NONE
    parts = []
    for key, rows in _settings(found).items():
        oracle = [row for row in rows if row["arm"] == "oracle"]
        lines = [] if not oracle else [["none", "", "oracle", str(len(oracle)), *_scores(oracle), "", "", ""]]
        for (kind, ratio), each in sorted(
            grouped((row for row in rows if row["kind"] != "none"), "kind", "ratio").items()
        ):
            arms = grouped(each, "arm", "rate")
            plain = next((those for (arm, _), those in arms.items() if arm == "plain"), [])
            for (arm, rate), those in arms.items():
                names = [f"auroc_{by}_{FOUND.get(kind, 'flipped')}" for by in ("sigma", "loss")]
                quality = [
                    spread([row[name] for row in those], 3, 1) if all(name in row for row in those) else ""
                    for name in names
                ]
                gain = "" if arm == "plain" else _gain(those, plain, "last")
                line = [kind, f"{100 * ratio:.0f}", _name(arm, rate), str(len(those)), *_scores(those), gain, *quality]
                lines.append(line)
        head = ["wrong boxes", "%", "arm", "seeds", "mAP50 of the last epoch, %", "of the best, %"]
        head += ["against plain, last, points", "AUROC of sigma", "AUROC of the loss"]
        parts.append(_title(key) + table(head, lines))
    return "\n".join(parts) + "\n" + where(found)


def _scores(rows: Sequence[Row]) -> list[str]:
    return [spread([row[name] for row in rows]) for name in ("last", "best")]


def summary() -> str:
    """The README's: each kind of wrong box, plain and with sigma at its default rate."""
    found = [row for row in _rows("noise") if row["rate"] is None]
    lines = []
    for (kind, ratio), each in sorted(grouped((row for row in found if row["ratio"]), "kind", "ratio").items()):
        plain, ours = (
            [row for row in each if row["arm"] == arm and row["model"] == "centernet-tiny"]
            for arm in ("plain", "data parameters")
        )
        name = f"auroc_sigma_{FOUND.get(kind, kind)}"
        quality = spread([row[name] for row in ours], 2, 1) if all(name in row for row in ours) else ""
        scores = [spread([row["last"] for row in rows]) for rows in (plain, ours)]
        lines.append([kind, f"{100 * ratio:.0f}", str(len(ours)), *scores, _gain(ours, plain, "last"), quality])
    head = ["wrong boxes", "%", "seeds", "plain, mAP50, %", "data parameters", "gain, points", "AUROC of sigma"]
    return table(head, lines) + "\n" + where(found) if lines else NONE


def occlusion() -> str:
    """AP easy, moderate and hard, and sigma by the level of occlusion."""
    found = _rows("occlusion")
    if not found:
        return NONE
    parts = []
    for key, rows in _settings(found).items():
        arms = grouped(rows, "arm", "rate")
        plain = next((those for (arm, _), those in arms.items() if arm == "plain"), [])
        lines = []
        for (arm, rate), those in arms.items():
            levels = ("easy", "moderate", "hard")
            scores = [spread([row[name] for row in those]) for name in levels]
            gains = ["" if arm == "plain" else _gain(those, plain, name) for name in levels]
            sigma = [row["sigma"] for row in those if "sigma" in row]
            means = [f"{statistics.mean(each):.2f}" for each in zip(*sigma, strict=True)] if sigma else [""] * 4
            lines.append([_name(arm, rate), str(len(those)), *scores, *gains, *means])
        head = [
            "arm",
            "seeds",
            "AP easy, %",
            "moderate, %",
            "hard, %",
            "easy against plain, points",
            "moderate",
            "hard",
        ]
        head += ["sigma of occlusion 0", "1", "2", "3"]
        parts.append(_title(key) + table(head, lines))
    return "\n".join(parts) + "\n" + where(found)


def overhead() -> str:
    """A training step with and without rows."""
    found = _rows("overhead")
    if not found:
        return NONE
    latest = {(row["model"], row["boxes"]): row for row in found}
    lines = [
        [
            model, f"{boxes:,}", f"{row['plain_ms']:,.1f}", f"{row['rows_ms']:.2f}", f"{100 * row['share']:.2f}",
            f"{row['first_ms']:.1f}", f"{row['bytes_a_row']:.1f}",
        ]
        for (model, boxes), row in sorted(latest.items())
    ]  # fmt: skip
    head = [
        "detector",
        "boxes",
        "plain step, ms",
        "rows, ms",
        "share, %",
        "rows in the first 50 steps, ms",
        "bytes a box",
    ]
    return table(head, lines) + "\n" + where(list(latest.values()))
