"""Write the tables of results into README.md and the pages of docs/ from benchmarks/results; nothing is typed by hand.

A table stands between `<!-- results: NAME -->` and `<!-- end -->`. With --check the files are only compared.
"""

import re
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import boxes_tables
import culling_tables
import real_tables
from counting_tables import counting, density, fresh_line, paper_counting, scoring, wrong_points
from counting_tables import summary as counting_summary
from markdown_tables import Row, grouped, spread, table, where
from paper_label_tables import paper_labels
from record import read

ROOT = Path(__file__).resolve().parents[1]
PLACE = re.compile(r"(<!-- results: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
ARMS = ("plain", "data parameters", "sigma-drop", "loss-drop", "oracle")


def closed(arm: Sequence[Row], plain: Sequence[Row], oracle: Sequence[Row], which: str = "last") -> list[float]:
    """Share of the gap between plain training and the oracle that an arm closes, for each seed that all three have."""
    low, high = ({row["seed"]: row[which] for row in rows} for rows in (plain, oracle))
    return [
        (row[which] - low[row["seed"]]) / (high[row["seed"]] - low[row["seed"]])
        for row in arm
        if row["seed"] in low and row["seed"] in high
    ]


def noise() -> str:
    found = read("noise")
    if not found:
        return "No measurements yet.\n"
    lines = []
    setting = ("data", "train", "noise", "model", "epochs")
    for key, rows in sorted(grouped(found, *setting).items()):
        arms = {arm: each for (arm,), each in grouped(rows, "arm").items()}
        for arm in ARMS:
            if arm not in arms:
                continue
            each = arms[arm]
            gap = closed(each, arms.get("plain", []), arms.get("oracle", [])) if arm not in ("plain", "oracle") else []
            name = {"data parameters": "auroc_sigma", "sigma-drop": "auroc_sigma"}.get(arm, "auroc_loss")
            quality = "" if arm == "oracle" else spread([row[name] for row in each], 3, 1)
            data, train, kind, model, epochs = key
            lines.append(
                [
                    f"{data} ({train:,})",
                    kind,
                    model,
                    str(epochs),
                    arm,
                    str(len(each)),
                    spread([row["last"] for row in each]),
                    spread([row["best"] for row in each]),
                    spread(gap, 0) if gap else "",
                    quality,
                    f"{statistics.mean(row['samples_seen'] / (row['train'] * row['epochs']) for row in each):.2f}",
                ]
            )
    head = ["data", "noise", "model", "epochs", "arm", "seeds", "last epoch, %", "best epoch, %", "gap closed, %"]
    return table([*head, "AUROC", "cost"], lines) + "\n" + where(found)


def summary() -> str:
    """The short table of the README: accuracy at the last epoch, a column for each arm."""
    found = read("noise")
    if not found:
        return "No measurements yet.\n"
    lines = []
    for key, rows in sorted(grouped(found, "data", "train", "noise", "epochs").items()):
        arms = {arm: each for (arm,), each in grouped(rows, "arm").items()}
        data, train, kind, epochs = key
        cells = [spread([row["last"] for row in arms[arm]]) if arm in arms else "" for arm in ARMS]
        gaps = [closed(arms.get(arm, []), arms.get("plain", []), arms.get("oracle", [])) for arm in ARMS[1:3]]
        shares = [spread(gap, 0) if gap else "" for gap in gaps]
        seeds = max(len(each) for each in arms.values())
        lines.append([f"{data}, {train:,} images", kind, str(epochs), str(seeds), *cells, *shares])
    head = ["data", "noise", "epochs", "seeds", *ARMS, "gap closed by data parameters, %", "by sigma-drop, %"]
    return (
        table(head, lines)
        + "\nAccuracy on clean test images after the last epoch, in percent, mean ± standard deviation. "
        + where(found)
    )


def detectors() -> str:
    """Wrong labels found: AUROC of sigma, of the loss and of cleanlab on the same trained model."""
    found = [row for row in read("noise") if row["arm"] in ("plain", "data parameters")]
    if not found:
        return "No measurements yet.\n"
    names = ("auroc_sigma", "auroc_loss", "auroc_cleanlab", "cleanlab_precision", "cleanlab_recall")
    lines = []
    for key, rows in sorted(grouped(found, "data", "train", "noise", "epochs", "arm").items()):
        cells = [spread([row[name] for row in rows], 3, 1) if name in rows[0] else "" for name in names]
        data, train, kind, epochs, arm = key
        lines.append([f"{data} ({train:,})", kind, str(epochs), arm, str(len(rows)), *cells])
    head = [
        "data",
        "noise",
        "epochs",
        "model trained with",
        "seeds",
        "AUROC of sigma",
        "of the last loss",
        "of cleanlab",
    ]
    return table([*head, "cleanlab precision", "cleanlab recall"], lines) + "\n" + where(found)


def planning() -> str:
    found = read("planning")
    if not found:
        return "No measurements yet.\n"
    latest = {(row["rule"], row["samples"]): row for row in found}
    lines = [
        [rule, f"{samples:,}", f"{row['shown']:,}", f"{row['seconds']:.3f}", f"{row['peak_gb'] - row['before_gb']:.2f}",
         f"{row['seconds'] / max(row['copy_of_scores_seconds'], 1e-4):.0f}"]
        for (rule, samples), row in latest.items()
    ]  # fmt: skip
    head = ["rule", "samples", "shown", "seconds", "memory beyond the scores, GB", "times a copy of the scores"]
    return table(head, lines) + "\n" + where(list(latest.values()))


def temperature() -> str:
    found = read("temperature")
    if not found:
        return "No measurements yet.\n"
    latest = {(row["classes"], row["rows"]): row for row in found}
    lines = []
    for (classes, rows), row in latest.items():
        plain, lazy, step = row["plain_us"], row["lazy_us"], row["network_step_us"]
        dense = row.get("dense_us")
        shares = [f"{100 * (value - plain) / step:.2f} %" if value else "" for value in (lazy, dense)]
        cells = [
            f"{plain:.0f}",
            f"{lazy:.0f}",
            f"{lazy / plain:.2f}",
            shares[0],
            shares[1],
            f"{row['bytes_a_row']:.0f}",
        ]
        lines.append([str(classes), f"{rows:,}", *cells])
    head = ["classes", "rows", "plain head, µs", "with LazySGD, µs", "ratio", "share of a small network's step"]
    return table([*head, "the dense way", "bytes a row"], lines) + "\n" + where(list(latest.values()))


def infobatch() -> str:
    found = read("infobatch")
    if not found:
        return "No measurements yet.\n"
    lines = []
    for (data, train, model, epochs), rows in grouped(found, "data", "train", "model", "epochs").items():
        arms = {arm: each for (arm,), each in grouped(rows, "arm").items()}
        full = {row["seed"]: row["last"] for row in arms.get("full", [])}
        for arm, each in arms.items():
            share = statistics.mean(row["samples_seen"] / (row["train"] * row["epochs"]) for row in each)
            paired = [row["last"] - full[row["seed"]] for row in each if row["seed"] in full and arm != "full"]
            cells = [spread([row["last"] for row in each], 2), spread(paired, 2) if paired else "", f"{share:.2f}"]
            lines.append([f"{data} ({train:,})", model, str(epochs), arm, str(len(each)), *cells])
    head = ["data", "model", "epochs", "arm", "seeds", "last epoch, %", "against full, paired, points", "sample visits"]
    return table(head, lines) + "\n" + where(found)


def random_labels() -> str:
    found = read("random-labels")
    if not found:
        return "No measurements yet.\n"
    lines = []
    for (data, train, model, epochs, arm), rows in grouped(found, "data", "train", "model", "epochs", "arm").items():
        sigma = [row["class_sigma"] or row["sigma_p50"] for row in rows]
        cells = [spread([row["train_accuracy"] for row in rows]), spread(sigma, 1, 1)]
        lines.append([f"{data} ({train:,})", model, str(epochs), arm, str(len(rows)), *cells])
    head = [
        "data",
        "model",
        "epochs",
        "arm",
        "seeds",
        "random labels fitted at the end, %",
        "sigma (mean of classes, or median)",
    ]
    return table(head, lines) + "\n" + where(found)


def augmentation() -> str:
    found = read("augmentation")
    if not found:
        return "No measurements yet.\n"
    lines = [[f"{row['images_per_second']:,}", f"{row['limit_images_per_second']:,}"] for row in found[-1:]]
    head = ["images a second", "only converting bytes to floats, in order"]
    return table(head, lines) + "\n" + where(found[-1:])


def demo() -> str:
    """What `make demo` printed when it was last recorded with `tamis demo > benchmarks/results/demo.txt`."""
    return "```\n" + (ROOT / "benchmarks" / "results" / "demo.txt").read_text() + "```\n"


def checkpoints() -> str:
    found = read("checkpoints")
    if not found:
        return "No measurements yet.\n"
    names = {None: "by default", 0.0: "after every step"}
    lines = [
        [names[row["every"]], f"{row['steps']:,}", f"{row['seconds']:.0f}", f"{100 * row['share']:.1f}"]
        for row in found
        if row["kind"] == "training"
    ]
    head = ["checkpoints", "steps", "seconds in all", "of them in checkpoints, %"]
    sizes = [
        [row["model"], f"{row['samples']:,}", f"{row['megabytes']:,}", f"{row['seconds']}", f"{row['plain_seconds']}"]
        for row in found
        if row["kind"] == "checkpoint"
    ]
    head_of_sizes = ["model", "samples", "MB", "seconds for a checkpoint", "for one plain flushed write"]
    return table(head, lines) + "\n" + table(head_of_sizes, sizes) + "\n" + where(found)


def faults() -> str:
    """What docs/faults.md says in sum."""
    text = (ROOT / "docs" / "faults.md").read_text()
    lines = [line.split(" | ") for line in text.splitlines() if re.match(r"\| \d", line)]
    rows, count = {line[0].strip("| ") for line in lines}, sum(int(line[-4]) for line in lines)
    return f"{count:,} faults of {len(rows)} kinds, caused by {len(lines)} tests: all of them ended as they must.\n"


TABLES: dict[str, Callable[[], str]] = {
    "checkpoints": checkpoints,
    "counting": counting,
    "counting-fresh": partial(counting, fresh=True),
    "counting-fresh-line": fresh_line,
    "counting-summary": counting_summary,
    "wrong-points": wrong_points,
    "paper-counting": paper_counting,
    "paper-labels": paper_labels,
    "density": density,
    "scoring": scoring,
    "culling": culling_tables.strategies,
    "culling-summary": culling_tables.summary,
    "culling-costs": culling_tables.costs,
    "precision": culling_tables.precision,
    "scanning": culling_tables.scanning,
    "decoding": culling_tables.decoding,
    "real-detectors": real_tables.detectors,
    "real-detectors-gallery": real_tables.gallery,
    "real-detectors-training": real_tables.training,
    "boxes-noise": boxes_tables.noise,
    "boxes-summary": boxes_tables.summary,
    "boxes-occlusion": boxes_tables.occlusion,
    "boxes-overhead": boxes_tables.overhead,
    "faults": faults,
    "augmentation": augmentation,
    "demo": demo,
    "noise": noise,
    "noise-summary": summary,
    "detectors": detectors,
    "planning": planning,
    "temperature": temperature,
    "infobatch": infobatch,
    "random-labels": random_labels,
}


def filled(text: str) -> str:
    return PLACE.sub(lambda match: match[1] + TABLES[match[2]]() + match[3], text)


def main() -> None:
    stale = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        before = path.read_text()
        after = filled(before)
        if after != before and "--check" in sys.argv:
            stale.append(str(path.relative_to(ROOT)))
        elif after != before:
            path.write_text(after)
    if stale:
        sys.exit(f"tables must be those of benchmarks/results, got old ones in {', '.join(stale)}; run make results")


if __name__ == "__main__":
    main()
