"""The end of a session of `tamis adapt`: the student as files, costs, drift, and the page."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import nn

from tamis.culling.costs import Cost, as_json
from tamis.culling.resolution import Resolution, shrunk
from tamis.culling.select import evenly
from tamis.data.frames import FrameRef
from tamis.detections import Detections
from tamis.files import replace_json
from tamis.models import export_onnx, save_detector
from tamis.recipes.adapt_judge import Jury, Size, before_after
from tamis.recipes.adapt_steps import Steps, Trained
from tamis.report.cull_page import write_cull_page
from tamis.report.cull_pictures import frame_pictures, pictured_keys

_PERCENTILES = (5, 25, 50, 75, 95)
_SAMPLE = 500  # frames that the drift of the confidence loss is measured on


def write_result(
    work: Steps,
    jury: Jury,
    untrained: tuple[list[Detections], float],
    resolution: Resolution | None,
    trained: Trained,
    others: Mapping[str, Trained],
) -> dict[str, Any]:
    """Write the student, its resolution and the page; result.json comes last but the page and says that all is done."""
    folder, names = work.session.folder, work.detectors.class_names
    save_detector(trained.module, names, work.session.weights)
    size = _full_size(jury) if resolution is None else (resolution.size.width, resolution.size.height)
    if resolution is not None:
        _write_resolution(work, resolution, trained.module, jury)
    if work.config.onnx:
        off = export_onnx(trained.module, names, folder / "student.onnx", size[1], size[0])
        work.console.print(f"exported: {folder / 'student.onnx'} for {size[0]} x {size[1]}, off by {off:.2g} at most")
    models = [
        _model(work, "before", untrained[1], _full_size(jury), jury),
        _model(work, "after", trained.map50, size, jury),
    ]
    result = trained.result | _costs(work, trained)
    result["judged"] = {
        "trained": trained.map50,
        "full": others["full"].map50 if "full" in others else None,
        "untrained": untrained[1],
        "images": len(jury.found),
        "truth": jury.truth,
        "where": jury.where,
    }
    compared = {work.config.strategy: trained, **others} if others else {}
    result["strategies"] = [_told(name, each) for name, each in compared.items()]
    result["before_after"] = before_after(jury, folder, models, [untrained[0], trained.found])
    result["drift"] = _drift(work, trained, untrained[1], size)
    replace_json(folder / "result.json", result)
    page = write_cull_page(folder, frame_pictures(work.frames, _refs(work), pictured_keys(folder)))
    work.console.print(f"report: {page}")
    return result


def _full_size(jury: Jury) -> Size:
    width, height = jury.found.sizes[0].tolist()
    return width, height


def _model(work: Steps, name: str, map50: float, size: Size, jury: Jury) -> dict[str, Any]:
    return {"name": name, "map50": map50, "flops": work.flops(jury, size), "width": size[0], "height": size[1]}


def _write_resolution(work: Steps, resolution: Resolution, module: nn.Module, jury: Jury) -> None:
    """With the mAP of the trained student at every size (Fig. 4)."""
    detector, told = work.as_detector(module), resolution.as_dict()
    sizes = [(each.width, each.height) for each in resolution.sizes]
    told["map50"] = [jury.map50(jury.seen_by(detector, size)) for size in sizes]
    replace_json(work.session.folder / "resolution.json", told)


def _costs(work: Steps, trained: Trained) -> dict[str, Any]:
    """Table 1, with the training that was measured; that on all frames is reckoned from it."""
    training, whole = trained.costs[-1], trained.result["counts"]["frames"] * work.config.epochs
    share = whole / max(1, training.images)
    flops = None if training.flops is None else round(training.flops * share)
    everything = Cost("student training", whole, training.seconds * share, flops, measured=False)
    full = [Cost(**one) for one in trained.result["full"] if one["stage"] != "student training"]
    return as_json(trained.costs, [*full, everything])


def _refs(work: Steps) -> dict[str, FrameRef]:
    """Every frame that was looked at, by its key."""
    table = pq.read_table(work.session.folder / "manifest.parquet", columns=["key", "source", "pts"])
    number = {name: place for place, name in enumerate(work.frames.names)}
    columns = (table[name].to_pylist() for name in ("key", "source", "pts"))
    return {key: FrameRef(number[source], pts) for key, source, pts in zip(*columns, strict=True)}


def _drift(work: Steps, trained: Trained, before: float, size: Size) -> dict[str, Any]:
    """Percentiles of the confidence loss on this footage, before and after, beside those of earlier sessions."""
    score = pq.read_table(work.session.folder / "manifest.parquet", columns=["score"])["score"].to_numpy()
    known = np.flatnonzero(np.isfinite(score))
    places, refs = known[evenly(len(known), _SAMPLE)], list(_refs(work).values())
    detector, loss = work.as_detector(trained.module), work.loss(trained.result)
    found = []
    for frame in work.frames.take([refs[place] for place in places.tolist()]):
        image = torch.from_numpy(frame.rgb()).permute(2, 0, 1)[None]
        seen = detector(shrunk(image, size[1], size[0]))[0]
        found.append(seen.scaled(frame.width / size[0], frame.height / size[1]))
    told = {
        "name": work.session.folder.name,
        "frames": trained.result["counts"]["frames"],
        "kept": trained.result["counts"]["kept"],
        "before": _percentiles(score[places]),
        "after": _percentiles(loss(found).numpy()),
        "map50_before": before,
        "map50_after": trained.map50,
    }
    earlier = [each.result["drift"]["sessions"][-1] for each in work.session.earlier]
    return {"percentiles": list(_PERCENTILES), "sessions": [*earlier, told]}


def _percentiles(values: np.ndarray) -> list[float | None]:
    return np.percentile(values, _PERCENTILES).tolist() if len(values) else [None] * len(_PERCENTILES)


def _told(name: str, trained: Trained) -> dict[str, Any]:
    """A row of Table 2."""
    known = [each.flops for each in trained.costs if each.stage not in ("decode", "gate") and each.flops is not None]
    unknown = sum(each.stage not in ("decode", "gate") for each in trained.costs) > len(known)
    return {
        "name": name,
        "images": trained.result["counts"]["kept"],
        "map50": trained.map50,
        "seconds": sum(each.seconds for each in trained.costs),
        "flops": None if unknown else sum(known),
        "measured": True,
    }
