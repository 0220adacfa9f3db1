"""What stands in the tables of a culling's page, and what its figures say in a sentence."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tamis.report.cull_reading import Culled
from tamis.report.tables import DASH, number, seconds

STAGES = ("decode", "gate", "student prediction", "teacher prediction", "student training")
LOST = 200
CLASSES = 200
_PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))


def operations(value: Any) -> str:
    """3.2e12 -> "3.2 TFLOPs"; a dash where unknown."""
    value = known(value)
    if math.isnan(value):
        return DASH
    size, prefix = next((pair for pair in _PREFIXES if abs(value) >= pair[0]), (1.0, ""))
    return f"{number(value / size)}\u00a0{prefix}FLOPs"


def known(value: Any) -> float:
    """A number, or NaN where there is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def times(value: Any) -> str:
    """47.3 -> "47 times"; 5.26 -> "5.3 times"; a dash where unknown."""
    value = known(value)
    return DASH if math.isnan(value) else f"{value:,.{0 if value >= 20 else 1}f}\u00a0times"


class Side(NamedTuple):
    """What one stage took, or all of them."""

    images: str
    seconds: str
    flops: str
    measured: bool


class Cost(NamedTuple):
    """A row of Table 1: a stage of this run, and of training on every frame; None where it has none."""

    stage: str
    culled: Side | None
    full: Side | None


def costs(culled: Culled) -> list[Cost]:
    """Table 1 for this camera: every stage, then the total."""
    sides = [culled.entries(name) for name in ("costs", "full")]
    names = [str(entry.get("stage")) for side in sides for entry in side]
    stages = [stage for stage in STAGES if stage in names] + [
        name for name in dict.fromkeys(names) if name not in STAGES
    ]
    rows = [
        Cost(stage, *(_side([e for e in side if str(e.get("stage")) == stage]) for side in sides)) for stage in stages
    ]
    total = Cost("total", *(_side(side, total=True) for side in sides))
    return [*rows, total] if rows else []


def _side(entries: Sequence[dict[str, Any]], *, total: bool = False) -> Side | None:
    if not entries:
        return None
    images = sum(known(entry.get("images")) for entry in entries)
    if images == 0:
        return None
    return Side(
        "" if total else DASH if math.isnan(images) else f"{images:,.0f}",
        seconds(sum(known(entry.get("seconds")) for entry in entries)),
        operations(_all_flops(entries)),
        all(entry.get("measured", True) for entry in entries),
    )


def _all_flops(entries: Sequence[dict[str, Any]]) -> float:
    """The sum; decoding and gating run no network, so that what they leave unknown does not hide it."""
    counted = [entry for entry in entries if entry.get("stage") not in ("decode", "gate") and entry.get("images")]
    return sum(known(entry.get("flops")) for entry in counted) if counted else math.nan


def strategies(culled: Culled) -> list[dict[str, Any]]:
    """Table 2 for this camera: what other choices of as many frames reach, and cost."""
    rows = []
    for entry in culled.entries("strategies"):
        given = entry.get("map50")
        seeds = np.array([known(each) for each in (given if isinstance(given, list) else [given])])
        spread = f"± {seeds.std(ddof=1):.3f}, {len(seeds)} seeds" if len(seeds) > 1 else ""
        rows.append(
            {
                "name": str(entry.get("name", "")),
                "images": number(known(entry.get("images"))),
                "map50": DASH if np.isnan(seeds).any() or not len(seeds) else f"{seeds.mean():.3f}",
                "spread": spread,
                "seconds": seconds(known(entry.get("seconds"))),
                "flops": operations(entry.get("flops")),
                "measured": bool(entry.get("measured", True)),
            }
        )
    return rows


class ClassRow(NamedTuple):
    """A class: the teacher's boxes on all frames that it saw and on the kept ones, as numbers and as shares."""

    name: str
    before: int
    after: int
    share_before: float
    share_after: float


def class_balance(culled: Culled, label_confidence: float) -> list[ClassRow]:
    """How the teacher's boxes are spread over the classes before and after the last cut, the most frequent first."""
    boxes = culled.teacher.above(label_confidence)
    labels = boxes.labels[boxes.labels >= 0]
    if not len(labels):
        return []
    before = np.bincount(labels)
    after = np.bincount(boxes.labels[(boxes.labels >= 0) & culled.kept[boxes.rows]], minlength=len(before))
    shares = [counts / max(1, counts.sum()) for counts in (before, after)]
    order = [label for label in np.argsort(-before, kind="stable").tolist() if before[label]]
    return [
        ClassRow(culled.class_name(at), int(before[at]), int(after[at]), float(shares[0][at]), float(shares[1][at]))
        for at in order
    ]


def class_warnings(rows: Sequence[ClassRow]) -> list[str]:
    """A sentence for each class that the culling has lost, or more than halved in share."""
    told = []
    for row in rows:
        if not row.after:
            told.append(f"No kept frame has a box of {row.name}, and the teacher found {row.before:,} on those it saw.")
        elif row.share_after < row.share_before / 2:
            shares = f"{100 * row.share_before:.1f}\u00a0% to {100 * row.share_after:.1f}\u00a0%"
            told.append(f"The share of {row.name} among the teacher's boxes fell from {shares}.")
    return told[:20]


def bad_boxes(culled: Culled) -> list[str]:
    """A sentence where a detector gave boxes that are none."""
    bad = (culled.result.get("counts") or {}).get("bad_boxes") or {}
    told = [f"{known(bad.get(who)):,.0f} of the {who}" for who in ("student", "teacher") if known(bad.get(who)) > 0]
    return [f"Boxes without an area or with a number that is none were left out: {' and '.join(told)}."] if told else []


def doubts(culled: Culled) -> list[str]:
    """From which confidence on the student counts, and whether most of the score is of boxes that are not there."""
    texts = [str((culled.result.get(name) or {}).get("text") or "") for name in ("level", "doubt")]
    return [text[:1].upper() + text[1:] + "." for text in texts if text]


def funnel(culled: Culled) -> list[tuple[str, str]]:
    """How many frames each stage let through (Fig. 2)."""
    new = len(culled) - int(culled.gated.sum())
    scored, taught, kept = (int(mask.sum()) for mask in (culled.scored, culled.taught, culled.kept))
    steps = [(len(culled), "frames decoded")]
    steps += [(new, "new to the gate")] if scored != new < len(culled) else []
    steps += (
        [(scored, "scored by the student" if scored < new or new == len(culled) else "new, scored by the student")]
        if scored
        else []
    )
    steps += [(taught, "seen by the teacher")] if taught else []
    return [(f"{count:,}", name) for count, name in [*steps, (kept, "kept")]]


def lost_frames(culled: Culled) -> tuple[list[dict[str, str]], str]:
    """The rows about frames that could not be read, and how many they are in words; empty where none was lost."""
    entries = culled.entries("lost")
    rows = [
        {
            "source": str(entry.get("source", "")),
            "where": "" if entry.get("where") is None else str(entry["where"]),
            "frames": "?" if not known(entry.get("frames")) > 0 else f"about {known(entry['frames']):,.0f}",
            "reason": str(entry.get("reason", "")),
        }
        for entry in entries[:LOST]
    ]
    counts = np.array([known(entry.get("frames")) for entry in entries])
    if not rows:
        return [], ""
    counts[counts <= 0] = np.nan
    unknown = " or more" if np.isnan(counts).any() else ""
    places = f"in {len(entries):,} place{'s' if len(entries) > 1 else ''}"
    if np.isnan(counts).all():
        return rows, f"frames {places}"
    return rows, f"about {np.nansum(counts):,.0f}{unknown} frames {places}"


def drift_rows(culled: Culled) -> list[dict[str, str]]:
    """The sessions of a camera that is culled again and again, oldest first."""
    rows = []
    for at, session in enumerate((culled.result.get("drift") or {}).get("sessions") or [], 1):
        middle = [_middle(session.get(name)) for name in ("before", "after")]
        rows.append(
            {
                "number": str(at),
                "name": str(session.get("name", "")),
                "frames": number(known(session.get("frames"))),
                "kept": number(known(session.get("kept"))),
                "loss": _pair(number(middle[0]), number(middle[1])),
                "map50": _pair(*(precision_of(session.get(f"map50_{when}")) for when in ("before", "after"))),
            }
        )
    return rows


def _middle(values: Any) -> float:
    return known(values[len(values) // 2]) if isinstance(values, list) and values else math.nan


def _pair(before: str, after: str) -> str:
    return before if after == DASH else f"{before} \u2192 {after}"


def precision_of(value: Any) -> str:
    """0.8931 -> "0.893"; a dash where unknown."""
    return DASH if math.isnan(known(value)) else f"{known(value):.3f}"


def facts(culled: Culled) -> list[tuple[str, str]]:
    """What the page's head says of data, detectors and machine."""
    about = culled.about
    environment = about.get("environment") or {}
    versions = [f"{name} {environment[name]}" for name in ("python", "torch", "torchvision") if environment.get(name)]
    machine = [str(environment[name]) for name in ("device", "processor", "platform") if environment.get(name)]
    if environment.get("threads"):
        machine.append(f"{environment['threads']} thread{'s' if environment['threads'] != 1 else ''}")
    names = culled.source.words
    sources = ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
    return [
        ("Sources", sources or DASH),
        ("Student", _detector(culled, "student")),
        ("Teacher", _detector(culled, "teacher")),
        ("Classes", ", ".join(map(str, (about.get("class_names") or [])[:8])) or DASH),
        ("Seed", str(culled.config.get("seed", DASH))),
        ("Started", f"{about['created']}".replace("T", " ")[:16] + " UTC" if about.get("created") else DASH),
        ("Versions", ", ".join([f"tamis {about.get('tamis', '?')}", *versions])),
        ("Machine", ", ".join(machine) or DASH),
    ]


def _detector(culled: Culled, who: str) -> str:
    told = culled.about.get("detectors")
    return str((told.get(who) if isinstance(told, dict) else None) or culled.config.get(who) or DASH)
