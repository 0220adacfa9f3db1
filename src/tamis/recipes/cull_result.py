"""The end of a cull: its data set, its tables, its costs, its page."""

from typing import Any

from tamis.culling.costs import Step, as_json, everything
from tamis.culling.scan import stacked
from tamis.culling.select import Scores
from tamis.data.frames import FrameRef
from tamis.files import replace_json
from tamis.recipes.cull_choice import Choice
from tamis.recipes.cull_config import CullConfig
from tamis.recipes.cull_doubt import doubt_of
from tamis.recipes.cull_output import write_images, write_resolution, write_set, write_tables
from tamis.recipes.cull_stages import Stages
from tamis.recipes.cull_training import training_step

_TRAINED = 8  # images of the training step that is measured


def settings_of_output(config: CullConfig) -> dict[str, Any]:
    """Settings that decide what is written, and not what is journaled."""
    return {"formats": sorted(config.formats), "train_epochs": config.train_epochs}


def write_result(work: Stages, scores: Scores, choice: Choice) -> dict[str, Any]:
    """Write everything but the page; result.json comes last and says that the cull is complete."""
    folder, config, records = work.journal.folder, work.config, work.records
    refs = [FrameRef(*records.ref(place)) for place in choice.kept]
    with work.bar("writing images", len(refs), 0) as tick:

        def step() -> None:
            tick(1)
            work.hold()

        names = write_images(folder, work.frames, refs, [records.key[place] for place in choice.kept], step)
    boxes = write_set(folder, names, records, scores, choice, work.judged, work.detectors.class_names, config)
    stages = write_tables(folder, records, scores, choice, work.judged, config)
    seen = [work.judged[place] for place in choice.kept]
    resolution = None
    if config.resize:
        work.console.print("looking for the smallest size of the frames")
        resolution = write_resolution(folder, work.frames, refs, seen, work.detectors, config)
    work.journal.flush()
    spent, training = work.spent.costs(), _training(work, choice.kept, refs)
    if training is not None:
        spent.append(training.cost(len(choice.kept)))
    result = {
        "strategy": config.strategy,
        "counts": _counts(work, choice) | {"boxes": boxes},
        "stages": stages,
        "thresholds": _thresholds(scores, choice, config),
        "level": work.level,
        "class_names": list(work.detectors.class_names),
        "lost": records.lost,
        "resolution": resolution,
        **as_json(spent, everything(spent, len(records), training)),
        "doubt": _doubt(work),
        "notes": work.journal.notes,
        "written": settings_of_output(config),
    }
    replace_json(folder / "result.json", result)
    return result


def _doubt(work: Stages) -> dict[str, Any] | None:
    """Said at once where most of the score is noise; None where it is not, or where nobody compared."""
    if not (work.config.scored and work.config.compared):
        return None
    found = doubt_of(list(work.judged.values()), work.config)
    if found is not None:
        work.console.print(found["text"])
    return found


def _counts(work: Stages, choice: Choice) -> dict[str, Any]:
    records, passed = work.records, len(work.records.passed)
    return {
        "frames": len(records),
        "passed": passed,
        "scored": passed if work.config.scored else 0,
        "survivors": len(choice.survivors),
        "judged": len(work.judged),
        "kept": len(choice.kept),
        "wanted": work.config.count(len(records)),
        "lost": sum(each["frames"] for each in records.lost),
        "bad_boxes": records.bad,
    }


def _thresholds(scores: Scores, choice: Choice, config: CullConfig) -> dict[str, float | None]:
    """The lowest score that got the teacher, the highest precision that was kept; None where there is none."""
    precision = [choice.precision[place] for place in choice.kept if place in choice.precision]
    lowest = min((float(scores[place]) for place in choice.survivors), default=None) if config.scored else None
    return {
        "score": lowest,
        "precision": max(precision, default=None),
        "label_confidence": config.label_confidence,
    }


def _training(work: Stages, kept: list[int], refs: list[FrameRef]) -> Step | None:
    """The cost of training, from a few steps on frames of the first one's size."""
    student, epochs = work.detectors.student, work.config.train_epochs
    if epochs is None or student is None or not kept:
        return None
    seen = [work.judged[position] for position in kept]
    width, height = seen[0].width, seen[0].height
    alike = [place for place, each in enumerate(seen) if (each.width, each.height) == (width, height)][:_TRAINED]
    images = stacked([frame.rgb() for frame in work.frames.take([refs[place] for place in alike])])
    labels = [seen[place].teacher.above(work.config.label_confidence) for place in alike]
    return training_step(student, images, labels, work.detectors.flops("student", height, width), epochs)


def write_page(work: Stages) -> None:
    """Write report.html, with pictures of frames that were not kept, too."""
    from tamis.report.cull_page import write_cull_page
    from tamis.report.cull_pictures import frame_pictures, pictured_keys

    folder, records = work.journal.folder, work.records
    wanted = set(keys := pictured_keys(folder))
    refs = {key: FrameRef(*records.ref(place)) for place, key in enumerate(records.key) if key in wanted}
    write_cull_page(folder, frame_pictures(work.frames, refs, keys))
