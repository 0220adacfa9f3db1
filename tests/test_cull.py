"""Culling from one end to the other: what is kept, what is written, what it costs, what is refused."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from cullings import CONFIG, Counting, MemoryFrames, config, digests_of_cull, numbered, small_cull
from tamis.culling.costs import Cost, Spent, Step, everything, factor
from tamis.culling.sound import detect
from tamis.detections import Detections
from tamis.files import replace_json
from tamis.recipes.cull import cull
from tamis.recipes.cull_config import CullConfig
from tamis.recipes.cull_detectors import class_map_of, loss_of
from tamis.scores import image_precision

STRATEGIES = ["confidence+precision", "confidence", "precision", "every", "random", "full"]


def manifest(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "manifest.parquet").to_pylist()


def kept(folder: Path) -> list[int]:
    return [row["position"] for row in manifest(folder) if row["stage"] == "kept"]


def found(numbers: list[int], *, teacher: bool = False) -> list[Detections]:
    """What the detectors of `small_cull` find on frames."""
    frames = numbered(numbers[-1] + 1, moving=False).frames
    pictures = np.stack([frames[each].picture for each in numbers])
    return Counting(shift=2.0 if teacher else 0.0)(torch.from_numpy(pictures).permute(0, 3, 1, 2))


def expected(count: int, keep: int, factor: int = 4) -> tuple[list[int], list[int]]:
    """Survivors and kept frames of the paper's two stages, in plain Python."""
    every = list(range(count))
    scores = loss_of(config(Path("x")))(found(every)).tolist()
    survivors = sorted(sorted(every, key=lambda place: (-scores[place], place))[: factor * keep])
    student = [each.above(0.05) for each in found(survivors)]
    teacher = [each.above(0.5) for each in found(survivors, teacher=True)]
    precision = image_precision(student, teacher, 2, alarm_confidence=0.5).tolist()
    order = sorted(range(len(survivors)), key=lambda place: (precision[place], survivors[place]))
    return survivors, sorted(survivors[place] for place in order[:keep])


def test_the_two_stages_keep_what_the_paper_says(tmp_path: Path) -> None:
    result = small_cull(tmp_path / "out", gate=False)
    survivors, chosen = expected(150, 6)
    rows = manifest(tmp_path / "out")
    assert [row["position"] for row in rows if row["precision"] is not None] == survivors
    assert kept(tmp_path / "out") == chosen
    assert result["counts"]["judged"] == 24
    assert [row["position"] for row in rows] == list(range(150))
    assert [row["score"] for row in rows] == loss_of(config(Path("x")))(found(list(range(150)))).tolist()


def test_the_gate_skips_and_the_manifest_tells_all(tmp_path: Path) -> None:
    small_cull(tmp_path / "out")
    rows = manifest(tmp_path / "out")
    gated = [row for row in rows if row["stage"] == "gated"]
    assert len(gated) > 50
    assert all(row["score"] is None and row["detections"] is None and row["change"] is not None for row in gated)
    assert {row["reason"] for row in gated} <= {
        "nothing there but the background", "nothing new since the last frame that was scored"
    }  # fmt: skip
    assert all(row["score"] is not None for row in rows if row["stage"] != "gated")
    assert rows[3] | {"score": 0, "reason": ""} == {
        "position": 3, "key": "cam.mp4@30", "source": "cam.mp4", "pts": 30, "seconds": 1.5, "change": rows[3]["change"],
        "stage": rows[3]["stage"], "score": 0, "detections": 3, "precision": rows[3]["precision"], "reason": "",
    }  # fmt: skip


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_keeps_its_frames_with_the_teachers_labels(tmp_path: Path, strategy: str) -> None:
    out = tmp_path / "out"
    result = small_cull(out, strategy=strategy, gate=False)
    chosen = kept(out)
    assert len(chosen) == (150 if strategy == "full" else 6) == result["counts"]["kept"]
    if strategy == "every":
        assert chosen == [12, 37, 62, 87, 112, 137]
    if strategy == "confidence":
        scores = [row["score"] for row in manifest(out)]
        assert chosen == sorted(sorted(range(150), key=lambda place: (-scores[place], place))[:6])
    asked = len((tmp_path / "student.calls").read_text().split()) if (tmp_path / "student.calls").is_file() else 0
    judged = {"precision": 150, "full": 150, "confidence+precision": 24}.get(strategy, 6)
    assert len((tmp_path / "teacher.calls").read_text().split()) == judged
    assert asked == {"every": 0, "random": 0, "full": 0, "precision": 150}.get(strategy, 150 + judged)
    document = json.loads((out / "coco.json").read_text())
    by_name = {each["file_name"].split("-")[-1]: each["id"] for each in document["images"]}
    for position, labels in zip(chosen, found(chosen, teacher=True), strict=True):
        here = [each for each in document["annotations"] if each["image_id"] == by_name[f"{10 * position:09d}.jpg"]]
        assert len(here) == len(labels.above(0.5))


def test_boxes_of_those_that_got_the_teacher_are_written_exactly(tmp_path: Path) -> None:
    small_cull(tmp_path / "out", gate=False)
    table = pq.read_table(tmp_path / "out" / "detections.parquet").to_pydict()
    survivors, _ = expected(150, 6)
    for who, teacher in (("student", False), ("teacher", True)):
        rows = [place for place, each in enumerate(table["who"]) if each == who]
        boxes = torch.tensor([[table[name][row] for name in ("x1", "y1", "x2", "y2")] for row in rows])
        wanted = [each.boxes.clamp(max=48) for each in found(survivors, teacher=teacher)]
        torch.testing.assert_close(boxes, torch.cat(wanted), rtol=0, atol=0)
        counts = [len(each) for each in wanted]
        assert [table["position"][row] for row in rows] == np.repeat(survivors, counts).tolist()


def test_scores_at_a_reduced_size_see_smaller_frames_and_boxes_in_full_pixels(tmp_path: Path) -> None:
    sizes = []

    class Watching(Counting):
        def __call__(self, images: torch.Tensor) -> list[Detections]:
            sizes.append(tuple(images.shape[2:]))
            return super().__call__(images)

    settings = config(tmp_path / "half", scan_scale=0.5, gate=False, min_side=11.0)
    half = cull(settings, frames=numbered(40), student=Watching(), teacher=Counting(shift=2.0))
    full = small_cull(tmp_path / "full", numbered(40), gate=False, min_side=11.0)
    assert set(sizes) == {(24, 32), (48, 64)}
    assert half["thresholds"] == full["thresholds"]
    small_cull(tmp_path / "none", numbered(40), gate=False, min_side=13.0)
    assert {row["score"] for row in manifest(tmp_path / "none")} == {0.0}


@pytest.mark.parametrize("strategy", ["confidence+precision", "confidence"])
def test_auto_is_the_level_that_it_finds(tmp_path: Path, strategy: str) -> None:
    auto = small_cull(tmp_path / "auto" / "out", strategy=strategy, min_confidence="auto")
    level = auto["level"]["level"]
    assert level > 0.05
    assert auto["level"]["text"].startswith(f"the student's boxes count from a confidence of {level:g} on")
    given = small_cull(tmp_path / "given" / "out", strategy=strategy, min_confidence=level)
    assert given["level"] is None
    tables = [(tmp_path / name / "out" / "manifest.parquet").read_bytes() for name in ("auto", "given")]
    assert tables[0] == tables[1]
    assert auto["counts"] == given["counts"]
    probed = min(64, auto["counts"]["passed"])
    images = [{each["stage"]: each["images"] for each in result["costs"]} for result in (auto, given)]
    assert images[0]["teacher prediction"] == images[1]["teacher prediction"] + probed
    once = small_cull(tmp_path / "once" / "out", strategy=strategy, min_confidence=0.05)
    assert once["thresholds"] != auto["thresholds"]


def test_auto_asks_nobody_where_nothing_is_scored(tmp_path: Path) -> None:
    for strategy in ("every", "precision"):
        given = small_cull(tmp_path / "given" / strategy, strategy=strategy)
        auto = small_cull(tmp_path / "auto" / strategy, strategy=strategy, min_confidence="auto")
        assert auto["level"] is None
        assert auto["counts"] == given["counts"]


def test_a_budget_of_images_is_also_for_those_that_say_how_sure_is_sure(tmp_path: Path) -> None:
    result = small_cull(tmp_path / "out", numbered(150), gate=False, teacher_budget="74", min_confidence="auto")
    assert result["counts"]["judged"] == 10
    assert len((tmp_path / "teacher.calls").read_text().split()) == 74


def test_diverse_keeps_frames_apart(tmp_path: Path) -> None:
    small_cull(tmp_path / "out", gate=False, diverse=5.0)
    assert min(np.diff(kept(tmp_path / "out"))) >= 10  # half a second each
    assert "too close in time" in str({row["reason"] for row in manifest(tmp_path / "out")})


def test_a_budget_of_images_is_the_most_that_the_teacher_sees(tmp_path: Path) -> None:
    result = small_cull(tmp_path / "out", teacher_budget="10")
    assert result["counts"]["judged"] == 10
    assert result["counts"]["kept"] == 6


def test_a_budget_of_time_ends_with_the_hardest_seen_and_goes_on_the_same(tmp_path: Path) -> None:
    result = small_cull(tmp_path / "out", teacher_budget="0.02s", stage1_factor=20, wait=0.01)
    assert 8 <= result["counts"]["judged"] < 40
    assert result["counts"]["kept"] == 6
    left = [
        row for row in manifest(tmp_path / "out") if row["reason"].startswith("left over when the teacher's budget")
    ]
    assert len(left) == result["counts"]["survivors"] - result["counts"]["judged"]
    (tmp_path / "out" / "result.json").unlink()
    assert small_cull(tmp_path / "out", teacher_budget="0.02s", stage1_factor=20)["counts"] == result["counts"]


def test_the_same_command_again_does_nothing_and_other_formats_are_written(tmp_path: Path) -> None:
    small_cull(tmp_path / "out")
    before = digests_of_cull(tmp_path / "out")
    calls = (tmp_path / "student.calls").read_bytes()
    small_cull(tmp_path / "out")
    assert digests_of_cull(tmp_path / "out") == before
    small_cull(tmp_path / "out", formats=["coco", "yolo", "voc"])
    assert (tmp_path / "student.calls").read_bytes() == calls
    after = digests_of_cull(tmp_path / "out")
    assert {name: after[name] for name in before if name != "result: written"} == {
        name: digest for name, digest in before.items() if name != "result: written"
    }
    assert any(name.startswith("voc/") for name in after)


def test_another_configuration_or_other_sources_are_refused(tmp_path: Path) -> None:
    small_cull(tmp_path / "out")
    with pytest.raises(FileExistsError, match=r"same configuration to go on, got keep: 6 -> 7; use another --out"):
        small_cull(tmp_path / "out", keep=7)
    changed = numbered(150)
    changed.date = 1
    with pytest.raises(FileExistsError, match=r"same sources to go on, got source 0 \(cam.mp4\): .*; use another"):
        small_cull(tmp_path / "out", changed)


def test_few_frames_keep_what_there_is(tmp_path: Path) -> None:
    assert small_cull(tmp_path / "one", numbered(1))["counts"]["kept"] == 1
    assert small_cull(tmp_path / "three", numbered(3), strategy="every")["counts"]["kept"] == 3
    with pytest.raises(ValueError, match=r"sources must hold at least one frame, got none in cam.mp4; look at the"):
        small_cull(tmp_path / "none", numbered(0))


def test_frames_of_several_sizes_and_of_images_without_time(tmp_path: Path) -> None:
    frames = [replace(each, seconds=None) for each in numbered(40).frames]
    for place in range(10, 25):
        frames[place] = replace(frames[place], picture=np.pad(frames[place].picture, ((0, 8), (0, 16), (0, 0))))
    small_cull(tmp_path / "out", MemoryFrames(frames), gate=False, diverse=2.0, keep=10, stage1_factor=1)
    rows = manifest(tmp_path / "out")
    assert all(row["seconds"] is None and row["score"] is not None for row in rows)
    sizes = {
        (each["width"], each["height"]) for each in json.loads((tmp_path / "out" / "coco.json").read_text())["images"]
    }
    assert sizes == {(64, 48), (80, 56)}
    assert min(np.diff(kept(tmp_path / "out"))) >= 2


def test_frames_that_cannot_be_read_again_are_left_out(tmp_path: Path) -> None:
    _, chosen = expected(150, 6)
    frames = numbered(150)
    frames.fails = {10 * chosen[0]}
    result = small_cull(tmp_path / "out", frames, gate=False)
    assert result["counts"]["judged"] == 23
    assert chosen[0] not in kept(tmp_path / "out")
    assert result["counts"]["kept"] == 6


# ----- detectors ------------------------------------------------------------------------------------------------


@pytest.mark.fault(34, "student and teacher of other classes: refused with both lists")
def test_other_classes_are_refused(tmp_path: Path, seen: Callable[..., None]) -> None:
    with pytest.raises(ValueError, match=r"same classes.*'car'.*'person'.*'car'.*'bus'"):
        cull(
            config(tmp_path / "out"),
            frames=numbered(3),
            student=Counting(),
            teacher=Counting(class_names=("car", "bus")),
        )
    assert not (tmp_path / "out").exists()
    seen("refused with both lists, nothing was written")


def test_a_class_map_and_another_order_bring_them_together(tmp_path: Path) -> None:
    swapped = Counting(shift=2.0, class_names=("human", "auto"))
    settings = config(tmp_path / "out", class_map=["human=person", "auto=car"], gate=False)
    result = cull(settings, frames=numbered(40), student=Counting(), teacher=swapped)
    assert result["class_names"] == ["car", "person"]
    table = pq.read_table(tmp_path / "out" / "detections.parquet").to_pydict()
    firsts: dict[tuple[str, int], int] = {}
    for who, position, label in zip(table["who"], table["position"], table["label"], strict=True):
        firsts.setdefault((who, position), label)
    assert {(who, label) for (who, _), label in firsts.items()} == {("student", 0), ("teacher", 1)}  # human -> person
    with pytest.raises(ValueError, match=r"class_map must name classes of the detectors, got 'lorry'; they have"):
        cull(
            config(tmp_path / "x", class_map=["lorry=car"]), frames=numbered(3), student=Counting(), teacher=Counting()
        )


@pytest.mark.parametrize("name", ["map.json", "map.yaml"])
def test_class_maps_of_files(tmp_path: Path, name: str) -> None:
    replace_json(tmp_path / name, {"truck": "car", "dog": None})
    assert class_map_of([str(tmp_path / name)]) == {"truck": "car", "dog": None}
    (tmp_path / name).write_text("[1]")
    with pytest.raises(ValueError, match="class_map must be a map from names to names, got another content"):
        class_map_of([str(tmp_path / name)])
    if name.endswith("yaml"):
        (tmp_path / name).write_text("!!python/object/apply:os.system ['touch /tmp/x']")
        with pytest.raises(ValueError, match="class_map must be YAML"):
            class_map_of([str(tmp_path / name)])


class Broken:
    """A detector that gives what it is told."""

    class_names = ("car", "person")

    def __init__(self, rows: list[list[float]], images: int | None = None) -> None:
        self.rows, self.images = rows, images

    def __call__(self, images: torch.Tensor) -> list[Detections]:
        numbers = torch.tensor(self.rows).reshape(-1, 6)
        one = Detections(numbers[:, :4], numbers[:, 4], numbers[:, 5].long())
        return [one] * (len(images) if self.images is None else self.images)


NAN, INF = float("nan"), float("inf")
BAD = [
    [NAN, 0, 5, 5, 0.5, 0], [0, 0, INF, 5, 0.5, 0], [0, 0, 5, 5, NAN, 0], [0, 0, 5, 5, 1.5, 0], [0, 0, 5, 5, -0.1, 0],
    [5, 0, 5, 5, 0.5, 0], [9, 9, 5, 5, 0.5, 0], [100, 0, 120, 5, 0.5, 0], [-9, -9, -1, -1, 0.5, 0],
]  # fmt: skip


@pytest.mark.fault(34, "detectors that give NaN, infinite, inverted or outlying boxes: left out and counted")
def test_boxes_that_are_none_are_counted(tmp_path: Path, seen: Callable[..., None]) -> None:
    frames, good = numbered(8), [-3.0, 2, 70, 9, 0.75, 1]
    both: Any = {"student": Broken([*BAD, good]), "teacher": Broken([*BAD, good])}
    result = cull(config(tmp_path / "out", gate=False), frames=frames, **both)
    assert result["counts"]["bad_boxes"] == {"student": 2 * 8 * len(BAD), "teacher": 8 * len(BAD)}
    table = pq.read_table(tmp_path / "out" / "detections.parquet").to_pydict()
    assert {tuple(table[name][row] for name in ("x1", "y1", "x2", "y2")) for row in range(16)} == {(0, 2, 64, 9)}
    assert len(table["who"]) == 16
    seen(f"{len(BAD)} kinds of boxes left out and counted, the good one cut at the edge", count=len(BAD))


@pytest.mark.fault(34, "detectors that give labels without a class, or too few answers: refused")
@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (Broken([[0, 0, 5, 5, 0.5, 2]]), r"student must give labels of its 2 classes .* got 2"),
        (Broken([[0, 0, 5, 5, 0.5, -1]]), r"student must give labels of its 2 classes .* got -1"),
        (Broken([], 3), r"student must give one Detections an image, got 3 for 8"),
    ],
)
def test_answers_that_cannot_be_are_refused(broken: Broken, words: str, seen: Callable[..., None]) -> None:
    with pytest.raises(ValueError, match=words):
        detect(broken, torch.zeros(8, 3, 48, 64, dtype=torch.uint8), "student")
    seen("refused, naming the detector")


# ----- costs ----------------------------------------------------------------------------------------------------


def test_costs_add_up_and_the_full_side_is_extrapolated(tmp_path: Path) -> None:
    result = small_cull(tmp_path / "out", gate=False, wait=0.005)
    costs = {each["stage"]: each for each in result["costs"]}
    assert {stage: each["images"] for stage, each in costs.items()} == {
        "decode": 150, "student prediction": 150 + 24, "teacher prediction": 24
    }  # fmt: skip
    assert costs["student prediction"]["seconds"] >= (19 + 6) * 0.005
    assert costs["teacher prediction"]["seconds"] >= 6 * 0.005
    full = {each["stage"]: each for each in result["full"]}
    assert full["teacher prediction"] == {
        "stage": "teacher prediction", "images": 150, "flops": None, "measured": False,
        "seconds": pytest.approx(costs["teacher prediction"]["seconds"] * 150 / 24),
    }  # fmt: skip
    assert result["factor"] == {"seconds": None, "flops": None}  # without a training there is none


def test_sums_of_costs() -> None:
    spent = Spent()
    stages = ("student prediction", "teacher prediction")
    spent.add({stages[0]: 2.0, "decode": 1.0}, {stages[0]: 4}, {stages[0]: 10})
    spent.add({stages[0]: 1.0, stages[1]: 3.0}, {stages[0]: 2, stages[1]: 2}, {stages[0]: 30, stages[1]: 500})
    found = spent.costs()
    assert found == [
        Cost("decode", 0, 1.0, None), Cost(stages[0], 6, 3.0, 100), Cost(stages[1], 2, 3.0, 1000)
    ]  # fmt: skip
    training = Step(seconds=0.5, flops=20, epochs=3)
    full = everything(found, 10, training)
    assert full[1:] == [
        Cost(stages[1], 10, 15.0, 5000, measured=False), Cost("student training", 30, 15.0, 600, measured=False)
    ]  # fmt: skip
    culled = [*found, training.cost(2)]
    assert factor(full, culled) == {"seconds": (15 + 15 + 1) / (1 + 3 + 3 + 3), "flops": 5600 / (100 + 1000 + 120)}
    spent.add({stages[0]: 1.0}, {stages[0]: 1}, {stages[0]: None})
    assert factor(full, spent.costs())["flops"] is None


# ----- settings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"sources": []}, {"keep": 0}, {"keep": -1}, {"keep": 2.5}, {"keep": NAN}, {"keep": INF}, {"fps": 0.0},
        {"fps": -1.0}, {"every": 0}, {"scan_scale": 0.0}, {"scan_scale": 1.5}, {"stage1_factor": 0},
        {"strategy": "best"}, {"diverse": -1.0}, {"diverse": 3.0, "strategy": "every"}, {"teacher_budget": "2 hours"},
        {"teacher_budget": "0"}, {"teacher_budget": "1.5"}, {"teacher_budget": "3", "keep": 6}, {"min_confidence": 1.5},
        {"min_confidence": "some"}, {"min_confidence": "auto", "per_class": True},
        {"min_confidence": "auto", "teacher_budget": "69"},
        {"min_confidence": "auto", "teacher_budget": "64", "keep": 0.1},
        {"teacher_budget": "2h", "strategy": "full"}, {"label_confidence": -0.1}, {"iou": 0.0}, {"iou": 1.1},
        {"log_base": 1.0}, {"log_base": -2.0}, {"q": -1.0}, {"b": NAN}, {"formats": ["png"]}, {"batch_size": 0},
        {"max_gap": 0}, {"gate_threshold": 0.0}, {"class_map": ["truck"]}, {"class_map": ["a=b", "c="]},
        {"train_epochs": 0}, {"threads": -1}, {"seed": 1 << 64}, {"resize": True, "per_class": True}, 
        {"min_side": -1.0}, {"amp": "int8"}, {"keep": True}, {"student": 3}, {"resize_threshold": INF},
        {"batch_size": 1 << 40},
    ],
    ids=str,
)  # fmt: skip
def test_settings_out_of_range_are_refused_in_one_line(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^[a-z_0-9]+ must .*, got .*") as error:
        config(Path("x"), **wrong)
    assert "\n" not in str(error.value)


def test_settings_say_what_they_mean() -> None:
    assert config(Path("x"), **{"keep": 0.1}).count(150) == 15
    assert config(Path("x"), **{"keep": 0.001}).count(150) == 1
    assert CullConfig(**CONFIG).count(3) == 3
    budgets = {
        "2000": (2000, None),
        "90s": (None, 90.0),
        "30min": (None, 1800.0),
        "1.5h": (None, 5400.0),
        "2m": (None, 120.0),
    }
    assert {text: config(Path("x"), **{"teacher_budget": text}).budget for text in budgets} == budgets
    assert CullConfig(**CONFIG).folder == Path("culled/cam")
    published = loss_of(config(Path("x"), **{"score": "published", "q": 3.0}))
    assert (published.q, published.log_base, published.b, published.min_confidence) == (3.0, 10.0, 0.5, 0.05)
    json.dumps(CullConfig(**CONFIG).plain())


def test_every_setting_is_documented() -> None:
    words = CullConfig.__doc__ or ""
    names = [line.strip() for line in words.splitlines()]
    for name in CullConfig.__dataclass_fields__:
        if name != "_":
            assert any(re.match(rf"{name}: ", line) for line in names), name


def test_hostile_names_stay_inside(tmp_path: Path) -> None:
    frames = [replace(each, source_name="../../<script>\x07.mp4") for each in numbered(4).frames]
    small_cull(tmp_path / "a" / "out", MemoryFrames(frames), gate=False)
    written = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert all(path.parts[:2] == ("a", "out") or path.suffix == ".calls" for path in written)
    images = [path.name for path in (tmp_path / "a" / "out" / "images").iterdir()]
    assert len(images) == 4
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+\.jpg", name) for name in images)


def test_it_says_what_it_does_line_by_line(tmp_path: Path) -> None:
    console = Console(record=True, width=200)
    both: Any = {"student": Counting(), "teacher": Counting(shift=2.0)}
    cull(config(tmp_path / "out"), console, frames=numbered(20), **both)
    said = console.export_text()
    assert "looking at frames: 20" in said
    assert "asking the teacher" in said


def test_the_page_is_written_and_written_again_if_it_is_gone(tmp_path: Path) -> None:
    small_cull(tmp_path / "out", report=True)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Kept 6 of 150 frames" in page
    (tmp_path / "out" / "report.html").unlink()
    small_cull(tmp_path / "out", report=True)
    assert (tmp_path / "out" / "report.html").is_file()
