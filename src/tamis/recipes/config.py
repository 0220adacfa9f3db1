"""Configurations: plain data, without torch, so that `tamis --help` answers at once."""

import hashlib
import json
from dataclasses import KW_ONLY, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from tamis.recipes.checks import check_ranges, check_types

Score = Literal["loss", "margin", "entropy", "el2n", "grand", "forgetting", "aum"]

# They have no influence on the result of a training: they may change when it goes on.
FREE = frozenset(
    {"out", "threads", "workers", "report", "checkpoint_seconds", "on_full", "strict", "max_bad"}
    | {"accept_dataset_change", "fingerprint", "processes"}
)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of `tamis train`.

    Attributes:
        data: images with labels: a folder with a subfolder for each class (with or without train/ and val/), an
            archive of one, CIFAR, MNIST idx, Parquet, a WebVision folder, or a CSV with the columns path,label.
        out: run folder; by default runs/ and a name made from data, method, seed and other settings that are not the
            default. The same command again goes on there.
        validation: a data set to judge by; by default the one that comes with the data, else a part that is held out.
        hold_out: share of the training images that is held out where there is no validation set, in (0, 1).
        model: "auto" (small for images up to 64 pixels, else resnet18), small, small-wide (each also with
            -fast), wrn-28-10 (any depth and width), any torchvision classifier, timm:NAME, or your own
            module:callable (the working directory is searched too).
        weights: file with weights to start from (.safetensors or .pt); nothing is ever downloaded.
        new_head: take the weights without the last layer, for other classes than they were trained on.
        method: what is shown: all (uniform), a random subset, InfoBatch, the easy first (self-paced), or all until
            the labels that look wrong are dropped, by sigma or by loss.
        ratio: share of the samples that random shows, or that InfoBatch hides of the easy ones, in (0, 1).
        start: progress at which sigma-drop and loss-drop begin to drop, in (0, 1); by default a third.
        exclude: file with a key in each line (or a CSV with a column key, such as an edited suspects.csv) of
            training samples to leave out.
        data_parameters: learn a temperature for each class, each instance, both (joint) or none.
        preset: settings of the data parameters: the default ones, or as printed (paper) or as in the code that was
            published with it, for small images or for ImageNet.
        instance_rate: learning rate of log sigma for a sample's own loss; by default derived from the epochs.
        instance_decay: weight decay of log sigma of the samples; by default the preset's.
        class_lr: learning rate of log sigma of the classes, for the mean loss of a batch; by default the preset's.
        epochs: passes over what the method shows.
        batch_size: samples of a step.
        accumulate: split each batch into this many pieces to save memory.
        optimizer: a name in torch.optim, such as SGD, AdamW, RMSprop.
        lr: learning rate.
        momentum: momentum of SGD (with Nesterov's form) and RMSprop.
        weight_decay: weight decay of the model.
        schedule: course of the learning rate over the training: triangle, cosine, linear, steps or flat.
        steps: progresses in (0, 1) at which the schedule steps lowers the rate to a tenth.
        flip: mirror training images at random.
        crop: shift small training images by up to so many pixels.
        image_size: side in pixels that large images are cropped to.
        amp: autocast to a shorter number format.
        channels_last: use the channels-last memory format.
        compile: use torch.compile.
        device: auto, cpu, cuda, cuda:1, mps.
        threads: threads of torch on the CPU; 0 = its own choice.
        workers: processes that decode images.
        noise: make labels wrong, to try a method out: symmetric, permute, asymmetric, random, or a CIFAR-N file
            (.npz).
        noise_ratio: share of the labels that the noise redraws, in [0, 1].
        noise_name: which labels of a CIFAR-N file.
        oracle: train only on the samples whose labels the noise left right: what a perfect method would do.
        calibrate: fit a temperature on the validation images after training, and report the calibration error.
        history: keep the loss, margin and sigma of each sample in every epoch; needed for the list of suspects
            and the report.
        report: write the report.
        checkpoint_seconds: seconds between checkpoints, 0 = after every step; by default so often that they take 2 %
            of the time.
        on_full: what to do when there is no room on the disk for a checkpoint: stop, or continue without it.
        strict: refuse a damaged newest checkpoint instead of going back to the one before it.
        max_bad: share of the images that may be unreadable and are left out, in [0, 1); one more stops the run.
        accept_dataset_change: go on although images were added, removed or edited since the run began.
        fingerprint: how images are compared when a run goes on: by date and size, and where these differ by content
            (auto; above 4 GiB of files by date and size alone), always by content, or never (stat).
        processes: run so many on this machine, each with its own GPU if there are any; they share each batch.
        seed: decides everything random.

    Raises:
        ValueError: a number outside its range, or settings that do not go together.
    """

    data: Path
    _: KW_ONLY
    out: Path | None = None
    validation: Path | None = None
    hold_out: float = 0.1
    model: str = "auto"
    weights: Path | None = None
    new_head: bool = False
    method: Literal["uniform", "random", "infobatch", "self-paced", "sigma-drop", "loss-drop"] = "uniform"
    ratio: float = 0.5
    start: float | None = None
    exclude: Path | None = None
    data_parameters: Literal["none", "class", "instance", "joint"] = "none"
    preset: Literal["default", "paper", "published", "paper-imagenet", "published-imagenet"] = "default"
    instance_rate: float | None = None
    instance_decay: float | None = None
    class_lr: float | None = None
    epochs: int = 30
    batch_size: int = 128
    accumulate: int = 1
    optimizer: str = "SGD"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["triangle", "cosine", "linear", "steps", "flat"] = "triangle"
    steps: list[float] = field(default_factory=lambda: [0.3, 0.6, 0.9])
    flip: bool = True
    crop: int = 0
    image_size: int = 224
    amp: Literal["none", "bf16", "fp16"] = "none"
    channels_last: bool = False
    compile: bool = False
    device: str = "auto"
    threads: int = 0
    workers: int = 2
    noise: str = "none"
    noise_ratio: float = 0.4
    noise_name: str = "worse_label"
    oracle: bool = False
    calibrate: bool = True
    history: bool = True
    report: bool = True
    checkpoint_seconds: float | None = None
    on_full: Literal["stop", "continue"] = "stop"
    strict: bool = False
    max_bad: float = 0.01
    accept_dataset_change: bool = False
    fingerprint: Literal["auto", "content", "stat"] = "auto"
    processes: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check_types(self)
        check_ranges(self)
        if self.start is not None and self.method not in ("sigma-drop", "loss-drop"):
            raise ValueError(f"start must come with sigma-drop or loss-drop, got {self.method!r}; leave it out")
        rows = self.data_parameters
        if rows == "none" and self.preset != "default":
            raise ValueError(f"preset must come with data parameters, got {rows!r}; add --data-parameters")
        if rows in ("none", "class") and (self.instance_rate is not None or self.instance_decay is not None):
            raise ValueError(f"instance settings must come with instance or joint, got {rows!r}; add --data-parameters")
        if rows in ("none", "instance") and self.class_lr is not None:
            raise ValueError(f"class_lr must come with class or joint, got {rows!r}; add --data-parameters")
        if not all(0 < place < 1 for place in self.steps):
            raise ValueError(f"steps must be in (0, 1), got {self.steps!r}; epoch 80 of 84 is 0.9524")
        if self.oracle and self.noise == "none":
            raise ValueError("oracle must come with noise, got none; without it no label is known to be wrong")
        if self.method == "sigma-drop" and self.data_parameters in ("none", "class"):
            raise ValueError(
                f"data_parameters must be instance or joint for sigma-drop, got {self.data_parameters!r}; "
                "add --data-parameters instance"
            )

    def plain(self) -> dict[str, Any]:
        """The settings as JSON: what run.json keeps and what resuming compares."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}

    @classmethod
    def from_plain(cls, settings: dict[str, Any]) -> "TrainConfig":
        """The inverse of `plain`.

        Raises:
            ValueError: a setting is unknown, of another type, out of its range, or data is missing.
        """
        known = {each.name for each in fields(cls)}
        unknown = sorted(settings.keys() - known)
        if unknown:
            raise ValueError(f"config must have settings of this version of tamis, got {unknown[0]!r}; use the other")
        paths = {each.name for each in fields(cls) if "Path" in str(each.type)}
        given = {key: settings[key] for key in paths if isinstance(settings.get(key), str)}
        typed: dict[str, Any] = settings | {key: Path(value) for key, value in given.items()}
        if "data" not in typed:
            raise ValueError("config must name its data, got none; train in another --out")
        return cls(**typed)

    @classmethod
    def read(cls, run: Path) -> "TrainConfig":
        """The configuration that a run was trained with.

        Raises:
            FileNotFoundError: the folder is no run.
            ValueError: its run.json is damaged, or holds what no training wrote.
        """
        path = run / "run.json"
        if not path.is_file():
            raise FileNotFoundError(f"run must be a run folder with run.json, got {str(run)!r}")
        try:
            about = json.loads(path.read_text("utf-8"))
            if not isinstance(about, dict) or not isinstance(about.get("config"), dict):
                raise ValueError("no config")
        except (ValueError, RecursionError) as error:
            reason = "deep nesting" if isinstance(error, RecursionError) else str(error)
            raise ValueError(
                f"run.json must be as tamis train wrote it, got {reason} in {str(path)!r}; take it from a backup"
            ) from error
        try:
            return cls.from_plain(about["config"])
        except ValueError as error:
            raise ValueError(f"{error} (in {str(path)!r})") from error

    @property
    def folder(self) -> Path:
        """The run folder."""
        if self.out is not None:
            return self.out
        parts = [self.data.resolve().name.split(".")[0] or "data", self.method]
        parts += [self.data_parameters] * (self.data_parameters != "none") + ["oracle"] * self.oracle
        return Path("runs") / "-".join([*parts, f"seed{self.seed}", *self._others()])

    def _others(self) -> list[str]:
        """A short name for the settings that the name of the folder does not tell, where they are not the default."""
        told = FREE | {"data", "method", "data_parameters", "oracle", "seed"}
        plain, default = self.plain(), {each.name: each.default for each in fields(self)} | {"steps": [0.3, 0.6, 0.9]}
        others = {name: value for name, value in plain.items() if name not in told and value != default[name]}
        text = json.dumps(others, sort_keys=True)
        return [hashlib.blake2b(text.encode(), digest_size=3).hexdigest()] if others else []


@dataclass(frozen=True)
class ScoreConfig:
    """Settings of `tamis score`.

    Attributes:
        runs: run folders whose models score; the scores of several are averaged.
        data: score these images instead of the training images of the first run.
        scores: loss, margin, entropy, el2n and grand are of the model; forgetting and aum are of the run's history,
            for its own training images only.
        which: the checkpoint that scores, last or best.
        out: the table, .parquet or .csv; by default scores.csv in the first run folder.
        device: auto, cpu, cuda, cuda:1, mps.
        batch_size: images of a step.

    Raises:
        ValueError: no run, a batch size below 1, or a table of another kind.
    """

    runs: list[Path]
    _: KW_ONLY
    data: Path | None = None
    scores: list[Score] = field(default_factory=lambda: ["loss", "margin", "entropy", "el2n"])
    which: Literal["last", "best"] = "last"
    out: Path | None = None
    device: str = "auto"
    batch_size: int = 256

    def __post_init__(self) -> None:
        check_types(self)
        check_ranges(self)
        if not self.runs:
            raise ValueError("runs must name at least one run folder, got none")
        if self.out is not None and self.out.suffix not in (".csv", ".parquet"):
            raise ValueError(f"out must end in .parquet or .csv, got {str(self.out)!r}")


@dataclass(frozen=True)
class CheckConfig:
    """Settings of `tamis check`.

    Attributes:
        data: images with labels, in any layout that can be trained on.
        validation: the data set that a training is judged by, if it does not come with the data.
        against: a run folder: name every file whose content differs from what this run has seen.
        fix: folder to write exclude.txt (for `tamis train --exclude`) and findings.csv to; nothing is ever written
            over, nor into the data.
        annotations: boxes or points of the images: COCO .json, a folder of YOLO .txt or VOC .xml, a .csv of image,x,y,
            or a folder of ShanghaiTech's .mat; the data is then a folder of images, classes are not looked for, and
            --fix writes corrected annotations to OUT/annotations.
        near: look for near duplicates too: the same picture in another size or compression.
        show: so many lines of each finding; 0 = all.
        json: print one JSON document and nothing else.
        workers: processes that read and decode.

    Raises:
        ValueError: a number outside its range.
    """

    data: Path
    _: KW_ONLY
    validation: Path | None = None
    against: Path | None = None
    fix: Path | None = None
    annotations: Path | None = None
    near: bool = True
    show: int = 10
    json: bool = False
    workers: int = 2

    def __post_init__(self) -> None:
        check_types(self)
        check_ranges(self)
        if self.show < 0:
            raise ValueError(f"show must be at least 0, got {self.show!r}; 0 shows all")
