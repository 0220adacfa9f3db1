"""The page: everything of the run folder that a person wants to see, in one file that needs nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from tamis.files import replace_file
from tamis.report import counting_tables, detection_pictures, detection_tables, tables
from tamis.report.box_section import box_section
from tamis.report.boxed_pictures import CONFIDENCE, BoxesOf, Encoder
from tamis.report.charts import colours, training_charts
from tamis.report.counting_charts import counting_charts
from tamis.report.counting_verdict import counting_verdict
from tamis.report.detection_charts import detection_charts
from tamis.report.detection_verdict import detection_verdict
from tamis.report.gains import gains
from tamis.report.label_charts import label_charts
from tamis.report.left_out import curriculum_section
from tamis.report.records import Record, read_record
from tamis.report.sample_table import all_samples
from tamis.report.suspicion import ranked_suspects
from tamis.report.templates import rendered
from tamis.report.thumbnails import Thumbnails, thumbnail_uri
from tamis.report.verdict import verdict

PICTURES = 24


def write_report(
    run: Path | Sequence[Path],
    out: Path | None = None,
    *,
    thumbnails: Thumbnails | None = None,
    names: Sequence[str] | None = None,
    validation_thumbnails: Thumbnails | None = None,
    boxes: BoxesOf | None = None,
) -> Path:
    """Write one HTML page about a run, or about several runs side by side.

    The labels (suspects, classes, sigma) are shown of one run: the first that learned a sigma, else the first. Of
    counters and detectors the second is compared with the first, as the paper's CLIP with standard training. The page
    needs no network and stays under 5 MB: beyond 20,000 samples its table holds the most suspicious 20,000.

    Args:
        run: a run folder, or several; they may still be training.
        out: where to write; default `report.html` in the (first) run folder.
        thumbnails: from an index in the shown run's training data to a picture; without it the suspects have none.
            Of counters and detectors those of the first run: the others show pictures if they have the same data.
        names: what to call the runs on the page; default the folders' names.
        validation_thumbnails: from an index in the first run's validation data to a whole picture, for maps of counts
            and for boxes.
        boxes: from an index in the shown run's training data to the boxes given there, (k, 4) in pixels of the picture.

    Returns:
        The path written.

    Raises:
        ValueError: no run, not one distinct name for each run, no finished epoch in a run, or runs of
            different tasks.
        FileNotFoundError: a folder is not a run folder.
    """
    folders = [Path(run)] if isinstance(run, str | Path) else [Path(folder) for folder in run]
    records = [read_record(folder, name) for folder, name in zip(folders, _names(folders, names), strict=True)]
    page = render(records, _focus(records), Pictures(thumbnails, validation_thumbnails, boxes))
    target = Path(out) if out is not None else folders[0] / "report.html"
    replace_file(target, page.encode("utf-8", "replace"))
    return target


def _names(folders: Sequence[Path], names: Sequence[str] | None) -> list[str]:
    if not folders:
        raise ValueError("run must name at least one run folder, got none; give the folder that `tamis train` wrote")
    if names is None:
        plain = [folder.resolve().name for folder in folders]
        return plain if len(set(plain)) == len(plain) else [str(folder) for folder in folders]
    if len(names) != len(folders) or len(set(names)) != len(names):
        raise ValueError(f"names must be {len(folders)} different names, one for each run, got {list(names)!r}")
    return list(names)


def _focus(records: Sequence[Record]) -> Record:
    tasks = sorted({record.task for record in records})
    if len(tasks) > 1:
        raise ValueError(f"runs must have one task, got {' and '.join(tasks)}; write a report for each")
    if records[0].task != "classification":
        return records[min(1, len(records) - 1)]
    return next((record for record in records if record.history.has_sigma), records[0])


class Pictures(NamedTuple):
    """Where pictures come from: see `write_report`."""

    train: Thumbnails | None
    validation: Thumbnails | None = None
    boxes: BoxesOf | None = None


def render(records: Sequence[Record], focus: Record, pictures: Pictures) -> str:
    """The page's HTML; `focus` is the run whose samples are shown."""
    if focus.task != "classification" and not focus.samples.keys.equals(records[0].samples.keys):
        pictures = pictures._replace(train=None, boxes=None)
    content, embedded = all_samples(focus)
    return rendered(
        "template.html.j2",
        {"number": tables.number, "percent": tables.percent},
        script="table.js",
        task=focus.task,
        focus=focus,
        records=records,
        colours=colours(records, focus),
        incidents=tables.incidents(records),
        facts=facts(focus),
        reproduce=[_reproduction(record, focus) for record in records],
        notes=[f"{record.name}: {note}" for record in records for note in record.notes],
        pictured=pictures.train is not None,
        content=Markup(content),  # noqa: S704 - escaped by script_json
        embedded=embedded,
        **curriculum_section(records, focus, pictures.train),
        **_SECTIONS[focus.task](records, focus, pictures),
    )


def _classification(records: Sequence[Record], focus: Record, pictures: Pictures) -> dict[str, Any]:
    rows, suspect_note = tables.classes(focus)
    return {
        "verdict": verdict(records, focus),
        "results": tables.results(records),
        "training": training_charts(records, focus),
        "labels": label_charts(focus),
        "detection": focus.detection[-1] if focus.detection else None,
        "calibrated": any((record.result or {}).get("calibration") for record in records),
        "saved": any("seconds_checkpoints" in ((record.result or {}).get("costs") or {}) for record in records),
        "suspects": _suspects(focus, pictures.train),
        "classes": rows[: tables.CLASSES],
        "class_count": len(rows),
        "suspect_note": suspect_note,
    }


def _counting(records: Sequence[Record], focus: Record, pictures: Pictures) -> dict[str, Any]:
    return {
        "verdict": counting_verdict(records, focus),
        "results": counting_tables.counting_results(records),
        "charts": counting_charts(records, focus),
        "gains": gains(records, focus, pictures.validation),
        "suspects": counting_tables.annotations(focus, pictures.train),
    }


def _detection(records: Sequence[Record], focus: Record, pictures: Pictures) -> dict[str, Any]:
    classes, count = detection_tables.detection_classes(records, focus)
    encoder = Encoder(detection_pictures.BYTES)
    return {
        "verdict": detection_verdict(records, focus),
        "results": detection_tables.detection_results(records),
        "coco": any("map" in ((record.result or {}).get("detection") or {}) for record in records),
        "classes": classes,
        "class_count": count,
        "kitti": detection_tables.kitti_precision(records),
        "by_occlusion": detection_tables.by_occlusion(focus),
        "charts": detection_charts(records, focus),
        "groups": detection_pictures.judged_groups(records, focus, pictures.validation, encoder),
        "suspects": detection_pictures.boxed_annotations(focus, pictures.train, pictures.boxes, encoder),
        "confidence": CONFIDENCE,
        "spent": encoder.spent,
        **box_section(records, focus, pictures.train),
    }


_SECTIONS = {"classification": _classification, "counting": _counting, "detection": _detection}


def _suspects(record: Record, thumbnails: Thumbnails | None) -> list[dict[str, Any]]:
    names = record.class_names
    rows = []
    for suspect in ranked_suspects(record.samples, record.history, PICTURES):
        clean = suspect.clean_label
        rows.append(
            {
                "key": suspect.key,
                "picture": thumbnail_uri(suspect.index, thumbnails) if thumbnails else None,
                "given": names[suspect.label],
                "predicted": tables.DASH if suspect.predicted is None else names[suspect.predicted],
                "score": tables.number(suspect.score),
                "wrong": None if clean is None else clean != suspect.label,
                "clean": None if clean is None else names[clean],
            }
        )
    return rows


def facts(record: Record) -> list[tuple[str, str]]:
    """What the page's head says of data, method and machine."""
    data, environment = (record.about.get(name) or {} for name in ("data", "environment"))
    noise = data.get("noise")
    labels = "as given"
    if noise:
        labels = f"{noise.get('kind')} noise"
        if isinstance(noise.get("ratio"), int | float):
            labels += f", {100 * noise['ratio']:.0f}\u00a0%"
        if noise.get("changed") is not None:
            labels += f" ({noise['changed']:,} changed)"
    what = [("Classes", f"{len(record.class_names):,}"), ("Labels", labels)]
    if record.counting:
        what = counting_tables.counting_facts(record)
    elif record.task == "detection":
        what = detection_tables.detection_facts(record)
    versions = [f"{name} {environment[name]}" for name in ("python", "torch", "torchvision") if environment.get(name)]
    machine = [str(environment[name]) for name in ("device", "processor", "platform") if environment.get(name)]
    if environment.get("threads"):
        machine.append(f"{environment['threads']} thread{'s' if environment['threads'] != 1 else ''}")
    listed = [
        ("Data", str(data.get("root") or tables.DASH)),
        (
            "Samples",
            f"{len(record.samples):,} for training, {int(data.get('validation') or 0):,} for validation",
        ),
        *what,
        ("Method", str(record.about.get("method") or tables.DASH)),
        ("Epochs", f"{len(record.metrics)} of {record.epochs or len(record.metrics)}"),
        ("Seed", str(record.config.get("seed", tables.DASH))),
        ("Started", str(record.about.get("created") or tables.DASH).replace("T", " ")[:16] + " UTC"),
        ("Versions", ", ".join([f"tamis {record.about.get('tamis', '?')}", *versions])),
        ("Machine", ", ".join(machine) or tables.DASH),
    ]
    return listed


def _reproduction(record: Record, focus: Record) -> dict[str, Any]:
    config = record.config
    if record is not focus:
        config = {name: value for name, value in config.items() if focus.config.get(name, ...) != value}
    environment = record.about.get("environment") or {}
    return {
        "name": record.name,
        "command": str(record.about.get("command") or tables.DASH),
        "commit": environment.get("commit"),
        "config": {str(name): _shown(value) for name, value in config.items()},
        "differs": record is not focus,
    }


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)
