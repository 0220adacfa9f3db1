"""The tables of counting: curricula against standard training, wrong points, density maps, scoring."""

import statistics
from collections.abc import Sequence

from scipy.stats import ttest_1samp

from markdown_tables import Row, grouped, spread, table, where
from record import read

NONE = "No measurements yet.\n"
# Mean absolute errors of the CLIP paper, section 4.1: standard training and CLIP.
PUBLISHED = {
    ("shanghaitech-a", "mcnn"): (110.2, 102.3),
    ("shanghaitech-a", "csrnet"): (68.2, 65.2),
    ("shanghaitech-a", "csrnet-lite"): (66.4, 63.3),
    ("shanghaitech-b", "mcnn"): (26.4, 20.2),
    ("shanghaitech-b", "csrnet"): (10.6, 8.2),
    ("shanghaitech-b", "csrnet-lite"): (9.6, 8.2),
}
SEARCHED = 5  # seeds up to it were used to look for settings; later ones test what was found
SETTING = ("data", "train", "test", "model", "epochs", "lr")


def paired(rows: Sequence[Row], others: Sequence[Row], name: str) -> list[float]:
    """Difference of a figure to that of the same seed, as a share of the other's mean."""
    base = {row["seed"]: row[name] for row in others}
    both = [(row[name], base[row["seed"]]) for row in rows if row["seed"] in base]
    mean = statistics.mean(there for _, there in both) if both else 1.0
    return [(here - there) / mean for here, there in both]


def compared(rows: Sequence[Row], others: Sequence[Row], name: str) -> list[str]:
    """Mean difference in percent with its spread, and p of a paired t-test; empty for the arm itself."""
    if rows is others:
        return ["", ""]
    shares = paired(rows, others, name)
    if not shares:
        return ["", ""]
    p = f"{ttest_1samp(shares, 0).pvalue:.2f}" if len(shares) > 1 else ""  # pyright: ignore[reportAttributeAccessIssue]
    return [spread(shares, 1), p]


def reached(rows: Sequence[Row], others: Sequence[Row]) -> list[str]:
    """Samples until the held-out loss is as low as standard training's lowest, how many seeds get there, and seconds.

    The seconds are those of the scores and of the course, as a share of standard training's to the same loss.
    """
    goal = {row["seed"]: (round(row["best_loss"], 6), row) for row in others}
    there, seconds, asked = [], [], 0
    for row in rows:
        if row["seed"] in goal:
            asked += 1
            loss, standard = goal[row["seed"]]
            seen, least = _visits_to(row, loss), _visits_to(standard, loss)
            if seen is not None and least is not None:
                there.append(seen)
                seconds.append((row["scoring_seconds"] + _seconds(row, seen)) / _seconds(standard, least))
    if not there:
        return [f"never ({asked})", ""]
    return [f"{statistics.mean(there):,.0f} ({len(there)} of {asked})", f"{100 * statistics.median(seconds):.0f}"]


def _visits_to(row: Row, goal: float) -> int | None:
    return next((seen for seen, loss, _ in row["course"] if loss <= goal), None)


def _seconds(row: Row, visits: int) -> float:
    return row["seconds"] * visits / row["samples_seen"]


def cost(row: Row) -> float:
    """Sample visits of a training, with those of its scorer; a scored sample is a forward pass, a third of a visit."""
    return row["samples_seen"] + row["scorer_samples"] + row["scored"] / 3


def _right(fresh: bool = False) -> list[Row]:
    """The rows of right points, of the seeds that settings were looked for with, or of fresh ones."""
    return [row for row in read("counting") if row["wrong"] == "none" and (row["seed"] > SEARCHED) == fresh]


def counting(fresh: bool = False) -> str:
    """Every arm against standard training, data set by data set."""
    found = _right(fresh)
    if not found:
        return NONE
    head = [
        "arm", "seeds", "MAE, last epoch", "against standard, %", "p", "best epoch", "GAME(2)", "visits", "with scores",
        "visits to standard's best loss", "seconds to it, scores included, % of standard's",
    ]  # fmt: skip
    parts = []
    for key, rows in grouped(found, *SETTING).items():
        data, train, test, model, epochs, lr = key
        arms = {arm: each for (arm,), each in grouped(rows, "arm").items()}
        standard = arms.get("standard", [])
        lines = [
            [
                arm,
                str(len(each)),
                spread([row["mae"] for row in each], 2, 1),
                *compared(each, standard, "mae"),
                spread([row["best_mae"] for row in each], 2, 1),
                spread([row["game2"] for row in each], 1, 1),
                f"{statistics.mean(row['samples_seen'] for row in each):,.0f}",
                f"{statistics.mean(map(cost, each)):,.0f}",
                *reached(each, standard),
            ]
            for arm, each in arms.items()
        ]
        count = statistics.mean(row["count"] for row in rows)
        title = (
            f"**{data}**, {train} images to train on, {test} to judge by with {count:.0f} points on average, {model}, "
        )
        parts.append(f"{title}{epochs} epochs, Adam {lr:g}:\n\n{table(head, lines)}")
    return "\n".join(parts) + "\n" + where(found)


def summary() -> str:
    """The short table of the README."""
    arms = ("shorter", "random", "curriculum", "prune", "clip", "clip, equal samples", "clip, from 0.1, equal samples")
    found = _right()
    if not found:
        return NONE
    lines = []
    for key, rows in grouped(found, *SETTING).items():
        by_arm = {arm: each for (arm,), each in grouped(rows, "arm").items()}
        standard = by_arm.get("standard", [])
        cells = []
        for arm in arms:
            change, p = compared(by_arm[arm], standard, "mae") if arm in by_arm else ("", "")
            cells.append(f"{change} (p {p})" if p else change)
        mae = spread([row["mae"] for row in standard], 2, 1) if standard else ""
        lines.append([f"{key[0]}, {key[1]} images", str(len(standard)), mae, *cells])
    head = ["data", "seeds", "MAE of standard training", *(f"{arm}, %" for arm in arms)]
    return (
        table(head, lines)
        + "\nMean absolute error after the last epoch, in percent of standard training's, negative is better. "
        + where(found)
    )


def fresh_line() -> str:
    """The README's sentence on the setting that was found, held on fresh seeds."""
    parts = []
    for key, rows in grouped(_right(fresh=True), *SETTING).items():
        arms = {arm: each for (arm,), each in grouped(rows, "arm").items()}
        told = [
            f"{arm} {' (p '.join(compared(arms[arm], arms['standard'], 'mae'))})"
            for arm in ("clip, from 0.1, equal samples", "random, from 0.1, equal samples", "random, equal samples")
        ]
        count = len(arms["clip, from 0.1, equal samples"])
        parts.append(f"{key[0]}, {count} fresh seeds, against standard training, %: {'; '.join(told)}.\n")
    return "".join(parts) or NONE


def wrong_points() -> str:
    """Training on wrong points: how much each arm loses against its own training on the right ones."""
    found = read("counting")
    noisy = {row["wrong"] for row in found} - {"none"}
    if not noisy:
        return NONE
    lines = []
    for key, rows in grouped([row for row in found if row["wrong"] in noisy], *SETTING, "wrong").items():
        arms = {arm: each for (arm,), each in grouped(rows, "arm").items()}
        standard = arms.get("standard", [])
        for arm, each in arms.items():
            mae = spread([row["mae"] for row in each], 2, 1)
            lines.append([key[0], key[-1], arm, str(len(each)), mae, *compared(each, standard, "mae")])
    head = ["data", "wrong in a fifth of the images", "arm", "seeds", "MAE, last epoch", "against standard, %", "p"]
    return table(head, lines) + "\n" + where(found)


def paper_counting() -> str:
    """Our full-size runs beside the published numbers."""
    found = {(row["data"], row["model"], row["arm"]): row for row in read("paper-counting")}
    lines = []
    for (data, model), (standard, clip) in PUBLISHED.items():
        ours = [found.get((data, model, arm)) for arm in ("standard", "clip")]
        cells = [f"{row['mae']:.1f}" if row else "not run" for row in ours]
        lines.append([data, model, f"{standard}", cells[0], f"{clip}", cells[1]])
    head = ["data", "model", "standard, published", "ours", "CLIP, published", "ours"]
    return table(head, lines)


def density() -> str:
    """Time of density maps."""
    found = read("density")
    if not found:
        return NONE
    latest = {(row["heads"], str(row["sigma"]), row["stride"]): row for row in found}
    lines = [
        [
            f"{heads:,}", sigma, str(stride), f"{row['milliseconds']:.1f}", f"{row['one_by_one_milliseconds']:,.0f}",
            f"{row['one_filter_milliseconds']:.0f}" if row["one_filter_milliseconds"] else "",
            f"{row['limit_milliseconds']:.2f}",
        ]
        for (heads, sigma, stride), row in latest.items()
    ]  # fmt: skip
    head = ["heads", "sigma", "stride", "here", "one by one", "one filter", "limit"]
    return table(head, lines) + "\n" + where(list(latest.values()))


def scoring() -> str:
    """Speed of scoring against the bare forward pass."""
    found = read("scoring")
    if not found:
        return NONE
    latest = {(row["task"], row["model"]): row for row in found}
    lines = [
        [
            task, model, f"{row['bare_images_per_second']:,.1f}", f"{row['images_per_second']:,.1f}",
            f"{100 * row['share']:.1f}",
        ]
        for (task, model), row in latest.items()
    ]  # fmt: skip
    head = ["task", "model", "forward passes alone, images/s", "scoring, images/s", "share, %"]
    return table(head, lines) + "\n" + where(list(latest.values()))
