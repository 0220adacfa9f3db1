"""The tables of culling: what each strategy's frames teach, what the pipeline costs, matching, decoding."""

import statistics
from collections.abc import Sequence

from scipy.stats import ttest_1samp

from markdown_tables import Row, grouped, spread, table, where
from record import read

NONE = "No measurements yet.\n"
CHOSEN = 0  # the camera on which the least confidence and the rate were chosen
STRATEGIES = (
    "every",
    "random",
    "confidence",
    "precision",
    "confidence+precision",
    "sure: confidence",
    "sure: confidence+precision",
    "auto: confidence+precision",
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
    return spread(values) + (f" ({_p(values)})" if len(values) > 1 else "")


def _p(values: Sequence[float]) -> str:
    p = float(ttest_1samp(values, 0).pvalue)  # pyright: ignore[reportAttributeAccessIssue]
    return "p < 0.001" if p < 0.001 else f"p {p:.3f}"


def strategies() -> str:
    """Table 2 of the paper, and Table 1's accuracies, by the teacher's boxes and by the true ones."""
    found = read("culling")
    if not found:
        return NONE
    parts = []
    for (frames, epochs), rows in grouped(found, "frames", "epochs").items():
        parts.append(f"{frames:,} frames of a day, epochs: {epochs}\n\n" + _strategies(rows))
        others = [row for row in rows if row["camera"] != CHOSEN]
        parts.append("The same without the camera that settings were chosen on\n\n" + _strategies(others))
    return "\n".join(parts) + "\n" + where(found)


def _strategies(rows: Sequence[Row]) -> str:
    by_arm = grouped(rows, "arm", "n")
    base = {n: each for (arm, n), each in by_arm.items() if arm == "random"}
    spaced = {n: each for (arm, n), each in by_arm.items() if arm == "every"}
    full = [row for row in rows if row["arm"] == "full"]
    lines = []
    for (arm, n), each in sorted(
        by_arm.items(),
        key=lambda item: (item[0][1], STRATEGIES.index(item[0][0]) if item[0][0] in STRATEGIES else 9),
    ):
        beaten = base.get(n, []) if arm not in ("random", "untrained", "full") else []
        even = spaced.get(n, []) if arm not in ("every", "random", "untrained", "full") else []
        gains = _against(each, beaten, "map50")
        lines.append(
            [
                arm, f"{n:,}" if n else "", str(len({row["camera"] for row in each})), str(len(each)),
                spread([row["map50"] for row in each]), spread([row["map50_true"] for row in each]),
                _told(gains), _by_camera(each, beaten), _told(_against(each, even, "map50")), _by_camera(each, even),
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
        "cameras ahead, p of their means",
        "against every k-th, points",
        "cameras ahead, p of their means",
        "against all frames, points",
    ]
    return table(head, lines)


def _by_camera(rows: Sequence[Row], others: Sequence[Row]) -> str:
    """On how many cameras the mean is above the others', and p of a t-test over the cameras: seeds are no cameras."""
    each, base = grouped(rows, "camera"), grouped(others, "camera")
    gains = [
        statistics.mean(_against(each[camera], base[camera], "map50"))
        for camera in each
        if camera in base and _against(each[camera], base[camera], "map50")
    ]
    if not gains:
        return ""
    return f"{sum(gain > 0 for gain in gains)} of {len(gains)}" + (f", {_p(gains)}" if len(gains) > 1 else "")


def summary() -> str:
    """The README's: n = 256 (or the most) against random, every k-th, and all frames."""
    found = read("culling")
    if not found:
        return NONE
    most = max((row["n"] for row in found if row["arm"] in STRATEGIES), default=0)
    rows = [row for row in found if row["n"] == most or row["arm"] in ("full", "untrained")]
    by_arm = {arm: each for (arm,), each in grouped(rows, "arm").items()}
    base = by_arm.get("random", [])
    order = [arm for arm in ("untrained", *STRATEGIES, "full") if arm in by_arm]
    lines = [
        [
            arm,
            f"{by_arm[arm][0]['n']:,}",
            str(len({row["camera"] for row in by_arm[arm]})),
            str(len(by_arm[arm])),
            spread([row["map50"] for row in by_arm[arm]]),
            spread([row["map50_true"] for row in by_arm[arm]]),
            *(
                [_told(_against(by_arm[arm], base, "map50")), _by_camera(by_arm[arm], base)]
                if arm not in ("random", "untrained", "full")
                else ["", ""]
            ),
        ]
        for arm in order
    ]
    head = [
        "student trained on the frames kept by",
        "n",
        "cameras",
        "trainings",
        "mAP50 by the teacher, %",
        "mAP50 by the truth, %",
        "against random on the same cameras, points",
        "cameras ahead, p of their means",
    ]
    return table(head, lines) + "\n" + where(rows)


def costs() -> str:
    """Table 1 of the paper: seconds by stage, against labelling and training on everything, and against the ideal."""
    found = read("culling-costs")
    if not found:
        return NONE
    lines = []
    for row in found:
        spent = {cost["stage"]: cost["seconds"] for cost in row["costs"]}
        stages = ("decode", "gate", "student prediction", "teacher prediction")
        seconds = [*(spent.get(stage, 0.0) for stage in stages), row["training"]["seconds"]]
        factor = everything(row) / sum(seconds)
        lines.append(
            [
                str(row["camera"]), f"{row['frames']:,}", "yes" if row["gate"] else "no", f"{row['scan_scale']:g}",
                f"{row['counts']['passed']:,}", *(f"{each:,.1f}" for each in seconds), f"{sum(seconds):,.1f}",
                f"{everything(row):,.0f}", f"{factor:.0f}", "" if row["flops"] is None else f"{row['flops']:.0f}",
                f"{100 * factor / ideal(row):.0f}", f"{100 * row['map50']:.1f}",
            ]
        )  # fmt: skip
    head = [
        "camera",
        "frames",
        "gate",
        "scale",
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
        "mAP50 by the teacher, %",
    ]
    return table(head, lines) + "\n" + where(found)


def _training(row: Row) -> float:
    """Seconds of training on an image once, as measured on the frames that were kept."""
    return row["training"]["seconds"] / row["training"]["images"]


def everything(row: Row) -> float:
    """Seconds of labelling and training on all frames, reckoned from the measured seconds of an image."""
    before = sum(cost["seconds"] for cost in row["full"] if cost["stage"] != "student training")
    return before + row["frames"] * row["epochs"] * _training(row)


def ideal(row: Row) -> float:
    """N (t_teacher + E t_train) / (N t_scan + K1 t_teacher + n E t_train), with the bare times of the same models."""
    bare, frames, judged = row["bare"], row["frames"], row["counts"]["judged"]
    scan = frames * bare["decode"] + row["counts"]["passed"] * bare["student"] * row["scan_scale"] ** 2
    whole = frames * (bare["teacher"] + row["epochs"] * _training(row))
    kept = row["kept"] * row["epochs"] * _training(row)
    return whole / (scan + judged * (bare["teacher"] + bare["student"]) + kept)


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


def scanning() -> str:
    """Stage 1 against the bare student, by processor time."""
    found = read("scanning")
    newest = {row["student"]: row for row in found}
    lines = [
        [name, f"{row['bare_images_a_second']:,.0f}", f"{row['images_a_second']:,.0f}", f"{100 * row['share']:.1f}"]
        for name, row in newest.items()
    ]
    head = ["student", "bare, images/s", "stage 1, images/s", "share, %"]
    return table(head, lines) + "\n" + where(list(newest.values())) if found else NONE


def decoding() -> str:
    """A scan of a film against bare PyAV, by processor time."""
    found = [row for row in read("decoding") if "decoding_of_bare" in row]
    newest = {(row["video"], row["way"]): row for row in found}
    lines = [
        [
            video,
            way,
            f"{row['frames_per_second']:,}",
            f"{100 * row['decoding_of_bare']:.0f}",
            f"{100 * row['of_bare']:.0f}",
        ]
        for (video, way), row in newest.items()
    ]
    head = ["film", "what is done", "frames/s", "the decoding thread, % of bare", "all threads, % of bare"]
    return table(head, lines) + "\n" + where(list(newest.values())) if found else NONE
