"""Methods: names for compositions of rules and scores. A paper is one row of the table below."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor

from tamis.box_temperature import BoxParameters
from tamis.paces import Pace, Polynomial
from tamis.rules import Clip, DropHard, InfoBatch, RandomSubset, Rule, SelfPaced, Uniform, Within
from tamis.temperature import DataParameters, LazySGD

SKILL_RATE = 10.0
"""Default instance rate of the schedule "skill", whatever the number of epochs (found at 15 to 90, docs/log.md)."""


def lasting_rate(epochs: int) -> float:
    """Default instance rate of the other schedules: 0.25 * (15 / epochs) ** (1 / 3).

    A sample is seen once an epoch, so a short training needs a higher rate; a rate that falls as fast as 1 / epochs is
    too low for a long one. Found on digits and Fashion-MNIST at 15 to 90 epochs (docs/log.md).
    """
    return 0.25 * (15 / epochs) ** (1 / 3)


def box_rate(epochs: int) -> float:
    """Default rate of log sigma of a box for its own loss: 0.02 * (15 / epochs) ** (1 / 3).

    Logits of detectors are far from 0 from the start, as objects are rare: at the rate of samples sigma would leap
    from one bound to the other. Found with flipped classes on generated cameras at 15 epochs (docs/log.md).
    """
    return 0.02 * (15 / epochs) ** (1 / 3)


@dataclass(frozen=True)
class Method:
    """What a training does with the scores of its samples.

    Attributes:
        rule: what is shown, and with which weight.
        score: what the ledger records of each visit: the "loss", or the "log_sigma" of the sample; nothing where the
            scores are "given" before the training.
        score_until: progress from which on the ledger keeps the scores that it has; 1 = never.
        refresh: all samples are scored anew by the model every so many epochs; 0 = never.

    Raises:
        ValueError: refresh < 0.
    """

    rule: Rule = Uniform()
    score: Literal["loss", "log_sigma", "given"] = "loss"
    score_until: float = 1.0
    refresh: int = 0

    def __post_init__(self) -> None:
        if self.refresh < 0:
            raise ValueError(f"refresh must be at least 0, got {self.refresh!r}; 0 scores once, before the training")


def uniform() -> Method:
    """Ordinary training: every sample, every epoch."""
    return Method()


def random_subset(ratio: float = 0.5) -> Method:
    """A new random subset in every epoch: the baseline of equal cost."""
    return Method(RandomSubset(ratio))


def infobatch(ratio: float = 0.5, delta: float = 0.875) -> Method:
    """InfoBatch (Qin et al. 2024)."""
    return Method(InfoBatch(ratio, delta))


def self_paced(kind: Literal["hard", "linear", "log", "mixture"] = "hard") -> Method:
    """Self-paced learning (Kumar et al. 2010; soft weights of Jiang et al. 2014)."""
    return Method(SelfPaced(kind=kind))


def sigma_drop(start: float = 1 / 3) -> Method:
    """Learn sigma first; from `start` on, leave out for good what lies above Otsu's threshold of log sigma."""
    return Method(DropHard("otsu", start), score="log_sigma", score_until=start)


def loss_drop(start: float = 1 / 3) -> Method:
    """The control of `sigma_drop`: the same threshold, on the latest loss."""
    return Method(DropHard("otsu", start))


def clip(
    pace: float | Pace = Polynomial(),
    prune: float | Pace = 0.05,
    reading: Literal["lowest", "algorithm1", "compounding"] = "lowest",
    order: Literal["easy", "hard", "random"] = "easy",
    unit: Literal["epoch", "batch"] = "epoch",
    groups: Tensor | None = None,
    refresh: int = 0,
) -> Method:
    """CLIP, see `tamis.rules.Clip`; with groups, int64 (n,), inside each of them. A random order needs no scores."""
    rule = Clip(pace, prune, reading, order, unit)
    score = "loss" if order == "random" else "given"
    return Method(rule if groups is None else Within(rule, groups), score=score, refresh=refresh)


METHODS: dict[str, Callable[..., Method]] = {
    "uniform": uniform,
    "random": random_subset,
    "infobatch": infobatch,
    "self-paced": self_paced,
    "sigma-drop": sigma_drop,
    "loss-drop": loss_drop,
    "clip": clip,
    "curriculum": partial(clip, prune=0.0),
    "anti-curriculum": partial(clip, order="hard"),
    "random-order": partial(clip, order="random"),
    "prune": partial(clip, pace=1.0),
}


@dataclass(frozen=True)
class Temperature:
    """How data parameters are learned.

    Attributes:
        kind: sigma of the "class", of the "instance", or "joint", the sum of both.
        class_lr: learning rate of log sigma of the classes, for the mean loss of a batch (section 3.1: 0.1).
        class_decay: weight decay of the class rows (section 3.1: 5e-4).
        instance_rate: learning rate of log sigma of a sample for *its own* loss, so that it does not depend on
            the batch
            size; the paper's rate for the mean loss of a batch of b is b times as high. Of a box likewise, for images
            of a mean number of boxes. None is `SKILL_RATE`, `lasting_rate` or `box_rate`.
        instance_decay: weight decay of the instance rows.
        momentum: of both; it is a memory over visits of a row.
        schedule: "linear" lets both rates fall to 0 over the training, "constant" keeps them (as the paper does).
            "skill" is linear, times the fourth power of the model's accuracy on the latest samples, as they are
            labelled: what a model says of a label counts as far as it can be believed. None: skill for instances
            alone, else linear.
        decay: see `LazySGD`.
        clamp: "soften" keeps sigma of the touched rows in [1, 1000], "touched" in [min(1/20, start), 20], "published"
            all rows in [1/20, 20] after every step, "none" leaves them free. None: soften for instances alone, else
            touched.
        regression: sigma of a box also is the learned noise scale of its regression loss.
    """

    kind: Literal["class", "instance", "joint"] = "instance"
    class_lr: float = 0.1
    class_decay: float = 5e-4
    instance_rate: float | None = None
    instance_decay: float = 0.0
    momentum: float = 0.9
    schedule: Literal["constant", "linear", "skill"] | None = None
    decay: Literal["per_member", "per_row"] = "per_member"
    clamp: Literal["soften", "touched", "published", "none"] | None = None
    regression: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ("class", "instance", "joint"):
            raise ValueError(f'kind must be "class", "instance" or "joint", got {self.kind!r}')
        if self.clamp not in (None, "soften", "touched", "published", "none"):
            raise ValueError(f'clamp must be "soften", "touched", "published" or "none", got {self.clamp!r}')
        if self.schedule not in (None, "constant", "linear", "skill"):
            raise ValueError(f'schedule must be "constant", "linear" or "skill", got {self.schedule!r}')

    def course(self, *, boxes: bool = False) -> Literal["constant", "linear", "skill"]:
        """The schedule: the given one, or the default."""
        return self.schedule or ("skill" if self.kind == "instance" and not boxes else "linear")

    def rate(self, epochs: int, *, boxes: bool = False) -> float:
        """The instance rate: the given one, or the default of the schedule or of boxes, for so many epochs."""
        if self.instance_rate is not None:
            return self.instance_rate
        if boxes:
            return box_rate(epochs)
        return SKILL_RATE if self.course() == "skill" else lasting_rate(epochs)

    def rows(self, classes: int, samples: int) -> DataParameters:
        """Fresh data parameters of this kind."""
        return DataParameters(
            classes=None if self.kind == "instance" else classes,
            samples=None if self.kind == "class" else samples,
        )

    def box_rows(self, starts: Tensor, classes: int, total: Callable[[Tensor], Tensor]) -> BoxParameters:
        """Fresh data parameters of this kind for boxes; see `BoxParameters`."""
        return BoxParameters(
            starts,
            classes=None if self.kind == "instance" else classes,
            instance=self.kind != "class",
            regression=self.regression,
            total=total,
        )

    def optimizer(self, rows: DataParameters | BoxParameters, rate: float, batch_size: float) -> LazySGD:
        """The optimiser of the rows, one group for each table, for the mean loss of batches of `batch_size`.

        Args:
            rows: data parameters.
            rate: of the instances, for their own loss.
            batch_size: by how much the loss of an instance is smaller in what is minimised: the samples of a batch;
                for boxes times the mean number of boxes of an image.
        """
        groups = []
        if rows.log_sigma_class is not None:
            table = rows.log_sigma_class
            groups.append({"params": [table], "lr": self.class_lr, "weight_decay": self.class_decay})
        if rows.log_sigma_instance is not None:
            table = rows.log_sigma_instance
            lr = rate * batch_size
            groups.append({"params": [table], "lr": lr, "weight_decay": self.instance_decay})
        alone = self.kind == "instance" and isinstance(rows, DataParameters)
        clamp = self.clamp or ("soften" if alone else "touched")
        for group in groups:
            start = float(group["params"][0][0].detach())
            touched, soften = (min(-math.log(20), start), math.log(20)), (0.0, math.log(1000))
            group["clamp"] = {"soften": soften, "touched": touched, "published": "published", "none": None}[clamp]
        return LazySGD(groups, momentum=self.momentum, decay=self.decay)


# The paper's rates are for the mean loss of a batch (128 for CIFAR, 256 for ImageNet): divided by it here.
PRESETS: dict[str, Temperature] = {
    "default": Temperature(),
    "paper": Temperature(instance_rate=0.2 / 128, schedule="constant", clamp="none"),
    "published": Temperature(instance_rate=0.2 / 128, schedule="constant", clamp="published"),
    "paper-imagenet": Temperature(
        kind="joint",
        class_decay=1e-4,
        instance_rate=0.8 / 256,
        instance_decay=1e-4,
        schedule="constant",
        clamp="none",
    ),
    "published-imagenet": Temperature(
        kind="joint",
        class_decay=1e-4,
        instance_rate=0.8 / 256,
        instance_decay=1e-8,
        schedule="constant",
        clamp="published",
    ),
    # Printed: 0.1 for the loss of a batch, which SSD (batches of 32) averages over the anchors of all its boxes; an
    # image of KITTI has 4.66 of them (34,856 cars, pedestrians and cyclists in 7,481 images).
    "paper-kitti": Temperature(instance_rate=0.1 / (32 * 4.66), momentum=0.0, schedule="constant", clamp="none"),
}
