"""The tables of culling: what each strategy's frames teach, what the pipeline costs, matching, decoding."""

from collections.abc import Sequence

from scipy.stats import ttest_1samp

from markdown_tables import Row, grouped, spread, table, where
from record import read

NONE = "No measurements yet.\n"
STRATEGIES = (
    "every",
    "random",
    "confidence",
    "precision",
    "confidence+precision",
    "sure: confidence",
    "sure: confidence+precision",
    "sure: gate, confidence+precision",
    "sure: gate, diverse, confidence+precision",
)
# Dataset Culling, Table 1, "surveillance": mAP at n = 64, 128, 256, full and untrained, and times cheaper.
PUBLISHED = {64: (85.56, 54), 128: (88.3, 50), 256: (89.3, 47)}


def _of_cameras(rows: Sequence[Row], figure: str) -> dict[tuple[int, int], float]:
    return {(row["camera"], row["seed"]): row[figure] for row in rows}


def _against(rows: Sequence[Row], others: Sequence[Row], figure: str) -> list[float]:
    """Differences in points of the same camera and seed; a row of one seed alone stands for all of its camera."""
    here, there = _of_cameras(rows, figure), _of_cameras(others, figure)
    alone = (
        {camera: value for (camera, _), value in there.items()} if others and len({s for _, s in there}) == 1 else {}
    )
    return [
        value - there.get(key, alone.get(key[0], float("nan")))
        for key, value in here.items()
        if key in there or key[0] in alone
    ]


def _told(values: Sequence[float]) -> str:
    if not values:
        return ""
    p = f" (p {ttest_1samp(values, 0).pvalue:.3f})" if len(values) > 1 else ""  # pyright: ignore[reportAttributeAccessIssue]
    return spread(values) + p


def strategies() -> str:
    """Table 2 of the paper, and Table 1's accuracies, by the teacher's boxes and by the true ones."""
    found = read("culling")
    if not found:
        return NONE
    parts = []
    for key, rows in grouped(found, "frames", "epochs").items():
        by_arm = grouped(rows, "arm", "n")
        base = {n: each for (arm, n), each in by_arm.items() if arm == "random"}
        full = [row for row in rows if row["arm"] == "full"]
        lines = []
        for (arm, n), each in sorted(
            by_arm.items(),
            key=lambda item: (item[0][1], STRATEGIES.index(item[0][0]) if item[0][0] in STRATEGIES else 9),
        ):
            beaten = base.get(n, []) if arm not in ("random", "untrained", "full") else []
            lines.append(
                [
                    arm, f"{n:,}" if n else "", str(len({row["camera"] for row in each})), str(len(each)),
                    spread([row["map50"] for row in each]), spread([row["map50_true"] for row in each]),
                    _told(_against(each, beaten, "map50")),
                    _told(_against(each, full, "map50")) if arm != "full" else "",
                ]
            )  # fmt: skip
        head = [
            "frames kept by",
            "n",
            "cameras",
            "trainings",
            "mAP50 by the teacher, %",
            "mAP50 by the truth, %",
            "against random, points",
            "against all frames, points",
        ]
        parts.append(f"{key[0]:,} frames of a day, epochs: {key[1]}\n\n" + table(head, lines))
    return "\n".join(parts) + "\n" + where(found)


def summary() -> str:
    """The README's: n = 256 (or the most) against random, every k-th, and all frames."""
    found = read("culling")
    if not found:
        return NONE
    most = max((row["n"] for row in found if row["arm"] in STRATEGIES), default=0)
    rows = [row for row in found if row["n"] == most or row["arm"] in ("full", "untrained")]
    by_arm = {arm: each for (arm,), each in grouped(rows, "arm").items()}
    order = [arm for arm in ("untrained", *STRATEGIES, "full") if arm in by_arm]
    lines = [
        [
            arm,
            f"{by_arm[arm][0]['n']:,}",
            str(len(by_arm[arm])),
            spread([row["map50"] for row in by_arm[arm]]),
            spread([row["map50_true"] for row in by_arm[arm]]),
        ]
        for arm in order
    ]
    head = [
        "student trained on the frames kept by",
        "n",
        "trainings",
        "mAP50 by the teacher, %",
        "mAP50 by the truth, %",
    ]
    return table(head, lines) + "\n" + where(rows)


def costs() -> str:
    """Table 1 of the paper: seconds by stage, against labelling and training on everything, and against the ideal."""
    found = read("culling-costs")
    if not found:
        return NONE
    lines = []
    for row in found:
        spent = {cost["stage"]: cost for cost in row["costs"]}
        full = {cost["stage"]: cost for cost in row["full"]}
        seconds = [
            spent.get(stage, {"seconds": 0.0})["seconds"]
            for stage in ("decode", "gate", "student prediction", "teacher prediction", "student training")
        ]
        whole = sum(cost["seconds"] for cost in full.values())
        lines.append(
            [
                f"{row['frames']:,}", "yes" if row["gate"] else "no", str(row["n"]), str(row["epochs"]),
                f"{row['counts']['passed']:,}", *(f"{each:,.1f}" for each in seconds), f"{sum(seconds):,.1f}",
                f"{whole:,.0f}", f"{row['factor']['seconds']:.0f}",
                "" if row["factor"]["flops"] is None else f"{row['factor']['flops']:.0f}",
                f"{100 * row['factor']['seconds'] / ideal(row):.0f}",
            ]
        )  # fmt: skip
    head = [
        "frames",
        "gate",
        "n",
        "epochs",
        "passed",
        "decode, s",
        "gate, s",
        "student, s",
        "teacher, s",
        "training, s",
        "in all, s",
        "everything, s (reckoned)",
        "times cheaper, seconds",
        "FLOPs",
        "of the ideal, %",
    ]
    return table(head, lines) + "\n" + where(found)


def ideal(row: Row) -> float:
    """N (t_teacher + E t_train) / (N t_scan + K1 t_teacher + n E t_train), with the bare times of the same models."""
    training = next(cost for cost in row["costs"] if cost["stage"] == "student training")
    step, bare = training["seconds"] / training["images"], row["bare"]
    frames, judged, kept = row["frames"], row["counts"]["judged"], row["kept"]
    scan = frames * bare["decode"] + row["counts"]["passed"] * bare["student"]
    whole = frames * (bare["teacher"] + row["epochs"] * step)
    return whole / (scan + judged * (bare["teacher"] + bare["student"]) + kept * row["epochs"] * step)


def precision() -> str:
    """Images a second of the average precision of single images."""
    found = read("precision")
    if not found:
        return NONE
    newest = {(row["boxes"], row["classes"]): row for row in found}
    lines = [
        [
            f"{boxes} x {boxes}",
            str(classes),
            f"{row['images_a_second']:,.0f}",
            f"{row['pycocotools_images_a_second']:,.0f}",
        ]
        for (boxes, classes), row in sorted(newest.items())
    ]
    return table(["boxes", "classes", "images a second", "pycocotools"], lines) + "\n" + where(list(newest.values()))
