"""Dataset Culling on fixed cameras: what each strategy keeps, what the student learns of it, and what that costs.

A camera's film is labelled whole by the teacher once ("precision" with every frame kept), so that each strategy's
frames can be chosen, and the full set trained on, from one data set. Everything is judged by later frames that no
training sees: with the teacher's boxes as truth, as in the paper, and with the true ones. Equal epochs, not equal
steps. Rows that are in the results already are not run again.

    python benchmarks/culling.py strategies --cameras 0 1 2 --frames 5000 --seeds 0 1 2
    python benchmarks/culling.py pipeline --cameras 0 1 2 --frames 5000
    python benchmarks/culling.py pipeline --cameras 0 --frames 86400 --scan-scale 0.5
"""

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from record import append, done
from tamis.culling.judge import Judged
from tamis.culling.select import at_random, evenly, hardest
from tamis.data import BoxedImages, open_boxes
from tamis.data.frames import open_frames
from tamis.data.street import StreetCamera, write_street
from tamis.detections import Detections, Detector
from tamis.memory import keep_freed_memory
from tamis.models import ModuleDetector, open_detector
from tamis.recipes.config import TrainConfig
from tamis.recipes.cull import cull
from tamis.recipes.cull_config import PROBED, CullConfig
from tamis.recipes.cull_doubt import level_of
from tamis.recipes.data import Data
from tamis.recipes.start import start_of
from tamis.recipes.train import train_on
from tamis.scores import ConfidenceLoss, confidence_loss, mean_average_precision

CACHE = Path(tempfile.gettempdir()) / "tamis-benchmark-cameras"
DAY = 86_400
ALL = (
    "every", "random", "confidence", "precision", "confidence+precision",
    "sure: confidence", "sure: confidence+precision",
    "sure: gate, confidence+precision", "sure: gate, diverse, confidence+precision",
)  # fmt: skip
_SURE = 0.3  # least confidence that counts in the "sure" arms, in the place of 0.05
_APART = 10.0  # seconds of the film between frames of the diverse arm


@dataclass(frozen=True)
class Labelled:
    """A culled folder that holds every frame of a film, with boxes of both detectors.

    Attributes:
        folder: where it lies.
        first: only so many frames are chosen from.
        size: width and height that the images are trained on at; None = as they are.
    """

    folder: Path
    first: int | None = None
    size: tuple[int, int] | None = None

    @cached_property
    def data(self) -> BoxedImages:
        return BoxedImages.from_boxes(open_boxes(self.folder)[0]).with_size(self.size).held(4 << 30)

    def place(self, key: str) -> int:
        """The row in `data` of a frame."""
        return self._rows[key]

    @cached_property
    def _rows(self) -> dict[str, int]:
        images = json.loads((self.folder / "coco.json").read_text())["images"]
        names = {name: row for row, name in enumerate(self.data.keys)}
        found = {
            image["key"]: names.get(image["file_name"], names.get(f"images/{image['file_name']}")) for image in images
        }
        return {key: row for key, row in found.items() if row is not None}

    @cached_property
    def level(self) -> float:
        """The confidence that `tamis cull --min-confidence auto` finds without a gate."""
        found = pq.read_table(self.folder / "detections.parquet").to_pydict()
        boxes = torch.tensor([found[name] for name in ("x1", "y1", "x2", "y2")]).T.float()
        scores, labels = torch.tensor(found["score"]), torch.tensor(found["label"])
        position, who = np.array(found["position"]), np.array(found["who"])

        def of(place: int, name: str) -> Detections:
            rows = torch.from_numpy(np.flatnonzero((position == place) & (who == name)))
            return Detections(boxes[rows], scores[rows], labels[rows])

        places = evenly(1 + int(position.max()), PROBED).tolist()
        judged = [Judged(0, 0, of(place, "teacher"), of(place, "student")) for place in places]
        config = CullConfig(sources=[self.folder], student="", teacher="", min_confidence="auto")
        return float(level_of(judged, config)["level"])

    @cached_property
    def manifest(self) -> dict[str, np.ndarray]:
        """Keys and precisions of the frames, and their confidence losses, of all detections and of sure ones."""
        table = pq.read_table(self.folder / "manifest.parquet", columns=["key", "precision"])
        found = pq.read_table(self.folder / "detections.parquet", columns=["position", "who", "score"])
        columns = {"key": table["key"].to_numpy(), "precision": table["precision"].to_numpy()}
        levels = {"score": ConfidenceLoss().min_confidence, "sure score": _SURE, "auto score": self.level}
        for name, least in levels.items():
            own = (found["who"].to_numpy() == "student") & (found["score"].to_numpy() >= least)
            each = confidence_loss(torch.tensor(found["score"].to_numpy()[own])).numpy()
            columns[name] = np.bincount(found["position"].to_numpy()[own], each, len(table))
        return {name: column[: self.first] for name, column in columns.items()}


@dataclass(frozen=True)
class Camera:
    """A generated camera: a day of it to train on, every so many-th frame of the next one to judge by."""

    seed: int
    frames: int
    judged: int
    amp: str

    @property
    def step(self) -> int:
        return max(1, DAY // self.frames)

    @cached_property
    def film(self) -> Path:
        return self._written("train", range(0, self.step * self.frames, self.step))

    @cached_property
    def later(self) -> Path:
        step = DAY // self.judged
        return self._written("judge", range(DAY + step // 2, DAY + step * self.judged, step))

    def _written(self, name: str, seconds: range) -> Path:
        path = CACHE / f"street-{self.seed}-{name}-{len(seconds)}.mp4"
        if not path.is_file():
            CACHE.mkdir(exist_ok=True)
            write_street(path, StreetCamera(self.seed), seconds, truth=path.with_suffix(".json"))
        return path

    def culling(self, out: str, **settings: Any) -> CullConfig:
        shared = {"student": "street-student", "teacher": "street-teacher", "report": False, "threads": 1}
        chosen: dict[str, Any] = shared | {"amp": self.amp, "formats": ["coco"]} | settings
        return CullConfig(sources=[self.film], out=CACHE / f"{self.film.stem}-{out}", **chosen)

    @cached_property
    def whole(self) -> Labelled:
        config = self.culling("whole", strategy="precision", keep=self.frames, gate=False)
        cull(config)
        return Labelled(config.folder)

    @cached_property
    def jury(self) -> "Jury":
        teacher = open_detector("street-teacher", amp=self.amp)
        pictures = [torch.from_numpy(frame.rgb()).permute(2, 0, 1) for frame in open_frames([self.later]).scan()]
        said = [each.above(0.5) for part in torch.stack(pictures).split(32) for each in teacher(part)]
        camera, step = StreetCamera(self.seed), DAY // self.judged
        true = [camera.frame(DAY + step // 2 + step * place)[1] for place in range(len(pictures))]
        return Jury(torch.stack(pictures), said, true)


@dataclass(frozen=True, eq=False)
class Jury:
    """Later frames, with the boxes of the teacher and the true ones."""

    pictures: torch.Tensor
    said: list[Detections]
    true: list[Detections]

    def __call__(self, detector: Detector) -> dict[str, float]:
        found = [each for part in self.pictures.split(32) for each in detector(part)]
        return {
            name: round(mean_average_precision(found, boxes, 2)["map50"], 5)
            for name, boxes in (("map50", self.said), ("map50_true", self.true))
        }


def chosen(film: Labelled, strategy: str, count: int, seed: int) -> np.ndarray:
    """Rows of `film.data` that a strategy keeps."""
    table = film.manifest
    level, _, strategy = strategy.rpartition(": ")
    total, score, wrong = len(table["key"]), table[f"{level} score".strip()], 1 - table["precision"]
    if strategy == "full":
        places = np.arange(total)
    elif strategy == "every":
        places = evenly(total, count)
    elif strategy == "random":
        places = at_random(total, count, seed)
    elif strategy == "confidence":
        places = hardest(score, count)
    elif strategy == "precision":
        places = hardest(wrong, count)
    else:
        first = np.sort(hardest(score, 4 * count))
        places = first[hardest(wrong[first], count)]
    return np.array([film.place(key) for key in table["key"][np.sort(places)].tolist()])


def gated(camera: Camera, strategy: str, count: int) -> np.ndarray:
    """Rows of the camera's data that a whole cull with the gate keeps."""
    diverse = _APART if "diverse" in strategy else 0.0
    name = f"gate-{count}" + "-diverse" * bool(diverse)
    config = camera.culling(name, keep=count, diverse=diverse, min_confidence=_SURE)
    cull(config)
    kept = pq.read_table(config.folder / "manifest.parquet", columns=["key", "stage"]).to_pylist()
    return np.array([camera.whole.place(row["key"]) for row in kept if row["stage"] == "kept"])


def trained(
    film: Labelled, rows: np.ndarray, epochs: int, seed: int, amp: str, **settings: Any
) -> tuple[Detector, float, int]:
    """The student trained on these rows, the seconds that took, and how many images it saw."""
    start = start_of("street-student", CACHE)
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            data=film.folder, task="detection", model=start.model, weights=start.weights, epochs=epochs,
            out=Path(folder) / "run", seed=seed, threads=1, workers=0, amp=amp, channels_last=True,  # type: ignore[arg-type]
            history=False, report=False, evaluate_every=epochs, checkpoint_seconds=3600.0, **settings,
        )  # fmt: skip
        data, few = (film.data.select(each) for each in (torch.from_numpy(rows), torch.arange(1)))
        fitted = train_on(Data(data, few), config)
    costs = fitted.result["costs"]
    detector = ModuleDetector(fitted.model.eval(), film.data.class_names, amp=amp)
    return detector, costs["seconds_training"], costs["samples_seen"]


def strategies(camera: Camera, counts: list[int], seeds: list[int], epochs: int, lr: float, arms: list[str]) -> None:
    """Table 1's accuracies and Table 2."""
    about = {"camera": camera.seed, "frames": camera.frames, "judged": camera.judged, "epochs": epochs, "lr": lr}
    if "untrained" in arms and not done("culling", **about, arm="untrained"):
        append(
            "culling",
            about
            | {"arm": "untrained", "n": 0, "seed": 0}
            | camera.jury(open_detector("street-student", amp=camera.amp)),
        )
    for seed in seeds:
        for count in counts:
            for arm in arms:
                if arm == "untrained" or (arm == "full" and count != max(counts)):
                    continue
                kept = camera.frames if arm == "full" else count
                identity = about | {"arm": arm, "n": kept, "seed": seed}
                if done("culling", **identity):
                    continue
                rows = gated(camera, arm, count) if "gate" in arm else chosen(camera.whole, arm, count, seed)
                detector, seconds, seen = trained(camera.whole, rows, epochs, seed, camera.amp, lr=lr)
                row = identity | {"kept": len(rows), "training_seconds": round(seconds, 2), "images_seen": seen}
                append("culling", row | camera.jury(detector))
                print(row | camera.jury(detector), flush=True)


def pipeline(camera: Camera, count: int, epochs: int, lr: float, gate: bool, scale: float) -> None:
    """What the whole costs, from the film to the trained student, and what the same models' bare times allow."""
    identity = {"camera": camera.seed, "frames": camera.frames, "n": count, "epochs": epochs, "lr": lr, "gate": gate}
    identity |= {"scan_scale": scale, "min_confidence": _SURE}
    if done("culling-costs", **identity):
        return
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        config = camera.culling("x", keep=count, gate=gate, train_epochs=epochs, scan_scale=scale, min_confidence=_SURE)
        result = cull(replace(config, out=Path(folder) / "cull"))
        seconds = time.perf_counter() - began
        small = Labelled(Path(folder) / "cull")
        detector, training, seen = trained(small, np.arange(len(small.data)), epochs, 0, camera.amp, lr=lr)
        row = identity | {
            "counts": result["counts"], "costs": result["costs"], "full": result["full"],
            "flops": result["factor"]["flops"],
            "cull_seconds": round(seconds, 2), "kept": len(small.data), "bare": bare(camera),
            "training": {"seconds": training, "images": seen}, **camera.jury(detector),
        }  # fmt: skip
    append("culling-costs", row)
    print(row, flush=True)


def bare(camera: Camera) -> dict[str, float]:
    """Seconds an image of the models and the decoder alone, from memory, in batches of 32 (training: 8)."""
    pictures = camera.jury.pictures[:256]
    found = {}
    for who in ("student", "teacher"):
        detector = open_detector(f"street-{who}", amp=camera.amp)
        detector(pictures[:32])
        began = time.perf_counter()
        for part in pictures.split(32):
            detector(part)
        found[who] = (time.perf_counter() - began) / len(pictures)
    began, frames = time.perf_counter(), 0
    for _ in open_frames([camera.later]).scan():
        frames += 1
    found["decode"] = (time.perf_counter() - began) / frames
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("strategies", "pipeline"))
    parser.add_argument("--cameras", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--frames", type=int, default=5000)
    parser.add_argument("--judged", type=int, default=500)
    parser.add_argument("--keep", type=int, nargs="+", default=[256])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument(
        "--arms",
        nargs="+",
        default=["untrained", *ALL],
        choices=["untrained", *ALL, "auto: confidence+precision", "full"],
    )
    parser.add_argument("--no-gate", action="store_true")
    parser.add_argument("--scan-scale", type=float, default=1.0, help="of the frames that the student scores")
    parser.add_argument("--amp", default="bf16")
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as the commands do
    for seed in given.cameras:
        camera = Camera(seed, given.frames, given.judged, given.amp)
        if given.what == "pipeline":
            pipeline(camera, given.keep[0], given.epochs, given.lr, not given.no_gate, given.scan_scale)
        else:
            strategies(camera, given.keep, given.seeds, given.epochs, given.lr, given.arms)


if __name__ == "__main__":
    main()
