"""What stands in the tables of a page about counters, as texts; the template only lays it out."""

import math
from collections.abc import Sequence
from typing import Any

from tamis.report.costs import costs_of
from tamis.report.counting_charts import quality
from tamis.report.records import Record
from tamis.report.suspicion import ranked_suspects
from tamis.report.tables import DASH, figure, number, scores_cost, seconds
from tamis.report.thumbnails import Thumbnails, thumbnail_uri
from tamis.report.verdict import percent

PICTURES = 24
METRICS = ("mae", "rmse", "game1", "game2", "game3")


def counting_results(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Last and best epoch, and the costs of each run."""
    return [_result(record) for record in records]


def _result(record: Record) -> dict[str, Any]:
    costs, (ssim, psnr) = costs_of(record), quality(record)
    best = record.figure("best", "mae")
    share = costs.fed / costs.full if costs.full > 0 else math.nan
    evaluation = ((record.result or {}).get("costs") or {}).get("seconds_evaluation")
    return {
        "name": record.name,
        "method": str(record.about.get("method") or DASH),
        "last": {name: figure(record.figure("last", name)) for name in METRICS},
        "last_epoch": record.judged("last")["epoch"] + 1,
        "best": figure(best),
        "best_epoch": DASH if math.isnan(best) else record.judged("best")["epoch"] + 1,
        "ssim": figure(ssim),
        "psnr": DASH if math.isnan(psnr) else f"{psnr:.1f}",
        "fed": f"{costs.fed:,}",
        "scores": scores_cost(costs),
        "of_full": DASH if math.isnan(share) else percent(share),
        "training": seconds(costs.seconds),
        "scoring": f"and {seconds(costs.scoring_seconds)} for scores" if costs.scoring_seconds else "",
        "evaluation": seconds(float(evaluation or math.nan)),
        "state": "finished" if record.result is not None else f"{len(record.metrics)} epochs so far",
    }


def annotations(record: Record, thumbnails: Thumbnails | None) -> list[dict[str, Any]]:
    """The training images whose points are worth a look."""
    return [
        {
            "key": each.key,
            "picture": thumbnail_uri(each.index, thumbnails) if thumbnails else None,
            "points": f"{each.label:,}",
            "count": _count(each.count),
            "predicted": _count(each.predicted_count),
            "score": number(each.score),
        }
        for each in ranked_suspects(record.samples, record.history, PICTURES)
    ]


def _count(value: float | None) -> str:
    return DASH if value is None else number(value)


def counting_facts(record: Record) -> list[tuple[str, str]]:
    """What the page's head says of points and maps."""
    config, points = record.config, record.samples.label
    some = f"{points.min():,} to {points.max():,} an image, {number(float(points.mean()))} on average"
    sigma = "adaptive" if config.get("density") == "adaptive" else config.get("density_sigma")
    width = "as wide as the distance of the points" if sigma == "adaptive" else f"sigma {sigma}\u00a0px"
    return [
        ("Points", some if len(points) else DASH),
        ("Density", DASH if sigma is None else f"Gaussians, {width}"),
        ("Shown in training", f"patches of {config['patch']}\u00a0px" if config.get("patch") else "whole images"),
        ("Model", str(config.get("model") or DASH)),
    ]
