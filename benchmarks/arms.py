"""Methods side by side on the same data: wrong labels, InfoBatch, all-random labels.

All arms of a seed share the start of the model, the order of the samples, the augmentation and the noise. Rows that are
in the results already are not run again, so the same command goes on after an interruption.

- noise: how much of the gap between plain training and a clean-only oracle the methods close; who finds wrong labels.
- infobatch: fewer sample visits against full training, with a random subset of the same cost beside it.
- random-labels: does the training fit labels that mean nothing (section 3.5)?

    python benchmarks/arms.py noise --data digits --epochs 15 30 90
    python benchmarks/arms.py noise --data fashion=/path/to/fashion-mnist --images 4000 --model small-fast
    python benchmarks/arms.py noise --data cifar10=/path/to/cifar10_jpeg.tar.xz --noise /path/to/CIFAR-10_human.npz
    python benchmarks/arms.py noise --data cifar10=/path --model wrn-28-10 --epochs 84 --flip --crop 4 --amp bf16
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from record import append, done, read
from tamis.data import MemoryImages, Noise, PadCrop, open_splits
from tamis.fit import Fitted
from tamis.moment import seed_of
from tamis.recipes.config import TrainConfig
from tamis.recipes.demo import digits
from tamis.recipes.train import Data, make_noise, train_on
from tamis.scores import auroc, cross_entropy
from tamis.tasks.classification import predictions

ARMS: dict[str, dict[str, dict[str, Any]]] = {
    "noise": {
        "plain": {},
        "data parameters": {"data_parameters": "instance"},
        "sigma-drop": {"data_parameters": "instance", "method": "sigma-drop"},
        "loss-drop": {"method": "loss-drop"},
        "oracle": {"oracle": True},
    },
    "infobatch": {"full": {}, "infobatch": {"method": "infobatch"}, "random": {"method": "random"}},
    "random-labels": {
        "plain": {},
        "class": {"data_parameters": "class"},
        "class, lr 3": {"data_parameters": "class", "class_lr": 3.0},
        "joint": {"data_parameters": "joint"},
        "instance": {"data_parameters": "instance"},
    },
}
NOISE = {"noise": "symmetric", "infobatch": "none", "random-labels": "random"}


def splits(name: str, config: TrainConfig, images: int) -> Callable[[int], Data]:
    """A function from the seed to the data with fresh noise, on a fixed subset of the training images."""
    if name == "digits":
        return lambda seed: digits(replace(config, seed=seed))
    train, validation = open_splits(config.data)
    if not isinstance(train, MemoryImages) or validation is None:
        raise SystemExit(f"{config.data} must hold small images with a test split")
    train = train.with_augmentation(PadCrop(flip=config.flip, pad=config.crop))

    def of_seed(seed: int) -> Data:
        noise = make_noise(replace(config, seed=seed), train)
        # The noise is drawn for the whole set (CIFAR-N needs that); the subset is the same for every seed.
        generator = torch.Generator().manual_seed(seed_of(0, "benchmark subset"))
        rows = torch.randperm(len(train), generator=generator)[: images or len(train)].sort().values
        chosen, part = train.select(rows), noise and noise.select(rows)
        return Data(chosen if part is None else chosen.with_labels(part.labels), validation, part)

    return of_seed


def detectors(fitted: Fitted, data: Data, noise: Noise) -> dict[str, float]:
    """AUROC for the wrong labels: sigma, the loss at the end, and cleanlab's confident learning, on the same model."""
    plan = torch.arange(len(data.train)).split(512)
    fitted.model.eval()
    pairs = list(predictions(fitted.model, data.train.batches(plan, epoch=0, seed=0, train=False)))
    logits, labels = torch.cat([z for z, _ in pairs]), torch.cat([y for _, y in pairs])
    found = {"auroc_loss": auroc(cross_entropy(logits, labels), noise.changed)}
    if fitted.temperature is not None and fitted.temperature.log_sigma_instance is not None:
        found["auroc_sigma"] = auroc(fitted.temperature.log_sigma_instance.detach(), noise.changed)
    return found | confident_learning(logits, labels, noise.changed)


def confident_learning(logits: Tensor, labels: Tensor, wrong: Tensor) -> dict[str, float]:
    """Cleanlab on the model's probabilities: AUROC of its label quality, precision and recall of its issues."""
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        return {}
    probabilities = logits.double().softmax(1).numpy()
    quality = torch.from_numpy(get_label_quality_scores(labels.numpy(), probabilities))
    issues = torch.from_numpy(find_label_issues(labels.numpy(), probabilities))
    hits = int((issues & wrong).sum())
    return {
        "auroc_cleanlab": auroc(-quality, wrong),
        "cleanlab_precision": hits / max(1, int(issues.sum())),
        "cleanlab_recall": hits / max(1, int(wrong.sum())),
    }


def measure(options: dict[str, Any], config: TrainConfig, data: Data) -> dict[str, Any]:
    """Train one arm; the figures of its row."""
    with tempfile.TemporaryDirectory() as folder:
        fitted = train_on(data, replace(config, out=Path(folder) / "run", **options))
    result, row = fitted.result, fitted.rows[-1]
    return {
        "train": len(data.train),
        "wrong": 0 if data.noise is None else int(data.noise.changed.sum()),
        "last": result["last"]["accuracy"],
        "best": result["best"]["accuracy"],
        "best_epoch": result["best"]["epoch"],
        "train_accuracy": row["train_accuracy"],
        "sigma_p50": 1.0 if row["sigma"] is None else row["sigma"]["p50"],
        "class_sigma": None if row["class_sigma"] is None else sum(row["class_sigma"]) / len(row["class_sigma"]),
        "hidden": row["hidden"],
        "samples_seen": result["costs"]["samples_seen"],
        "seconds": round(result["costs"]["seconds_training"], 1),
        **({} if data.noise is None else detectors(fitted, data, data.noise)),
    }


def same_cost(name: str, identity: dict[str, Any]) -> dict[str, float]:
    """The ratio with which a random subset costs what InfoBatch cost with the same seed."""
    others = {key: value for key, value in identity.items() if key != "arm"}
    for row in read(name):
        if row["arm"] == "infobatch" and all(row.get(key) == value for key, value in others.items()):
            return {"ratio": row["samples_seen"] / (row["train"] * row["epochs"])}
    raise SystemExit("the random arm needs the infobatch arm of the same seed first")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", choices=ARMS)
    parser.add_argument("--data", required=True, help="digits, or a name and a path: cifar10=/path")
    parser.add_argument("--epochs", type=int, nargs="+", default=[15, 30, 90])
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[2, 3, 4, 5, 6], help="0 and 1 were used to find defaults"
    )
    parser.add_argument("--arms", nargs="+", help="default: all of the benchmark")
    parser.add_argument("--images", type=int, default=0, help="training images to take; 0 = all")
    parser.add_argument("--model", default="small")
    parser.add_argument("--noise", help="default: that of the benchmark")
    parser.add_argument("--ratio", type=float, default=0.4)
    parser.add_argument("--flip", action="store_true")
    parser.add_argument("--crop", type=int, default=0)
    parser.add_argument("--amp", default="none")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", help="file of results, by default the benchmark's")
    given = parser.parse_args()
    arms, file, kind = ARMS[given.benchmark], given.name or given.benchmark, given.noise or NOISE[given.benchmark]
    name, _, path = given.data.partition("=")
    base = TrainConfig(
        data=Path(path or name), model=given.model, noise=kind, noise_ratio=given.ratio, flip=given.flip,
        crop=given.crop, amp=given.amp, channels_last=True, threads=given.threads, history=False, calibrate=False,
    )  # fmt: skip
    data_of = splits(name, base, given.images)
    noise = "human (worse)" if kind.endswith(".npz") else f"{kind} {given.ratio}" if kind == "symmetric" else kind
    for epochs in given.epochs:
        for seed in given.seeds:
            for arm in given.arms or arms:
                identity = {"data": name, "images": given.images, "noise": noise, "model": given.model}
                identity |= {"epochs": epochs, "seed": seed, "arm": arm}
                if done(file, **identity):
                    continue
                options = arms[arm] | (same_cost(file, identity) if arm == "random" else {})
                row = identity | measure(options, replace(base, epochs=epochs, seed=seed), data_of(seed))
                append(file, row)
                print(*(f"{key}={value}" for key, value in row.items() if key != "environment"), flush=True)


if __name__ == "__main__":
    main()
