"""Wrong labels: how much of the gap between plain training and a clean-only oracle the methods close.

All arms of a seed share the start of the model, the order of the samples, the augmentation and the noise. Rows that are
in the results already are not run again, so the same command goes on after an interruption.

    python benchmarks/noise.py --data digits --epochs 15 30 90
    python benchmarks/noise.py --data fashion=/path/to/fashion-mnist --images 4000
    python benchmarks/noise.py --data cifar10=/path/to/cifar10_jpeg.tar.xz --images 20000 --flip
    python benchmarks/noise.py --data cifar10=... --noise /path/to/CIFAR-10_human.npz
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from record import append, done
from torch import Tensor

from tamis.data import MemoryImages, Noise, PadCrop, open_splits
from tamis.fit import Fitted
from tamis.moment import seed_of
from tamis.recipes.config import TrainConfig
from tamis.recipes.demo import digits
from tamis.recipes.train import Data, make_noise, train_on
from tamis.scores import auroc, cross_entropy
from tamis.tasks.classification import predictions

ARMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "data parameters": {"data_parameters": "instance"},
    "sigma-drop": {"data_parameters": "instance", "method": "sigma-drop"},
    "loss-drop": {"method": "loss-drop"},
    "oracle": {"oracle": True},
}


def splits(name: str, config: TrainConfig, images: int) -> Callable[[int], Data]:
    """A function from the seed to the data with fresh noise, on a fixed subset of the training images."""
    if name == "digits":
        return lambda seed: digits(seed)
    train, validation = open_splits(config.data)
    if not isinstance(train, MemoryImages) or validation is None:
        raise SystemExit(f"{config.data} must hold small images with a test split")
    train = train.with_augmentation(PadCrop(flip=config.flip, pad=config.crop))

    def of_seed(seed: int) -> Data:
        noise = make_noise(replace(config, seed=seed), train)
        if noise is None:
            raise SystemExit("--noise must make some labels wrong")
        # The noise is drawn for the whole set (CIFAR-N needs that); the subset is the same for every seed.
        generator = torch.Generator().manual_seed(seed_of(0, "benchmark subset"))
        rows = torch.randperm(len(train), generator=generator)[: images or len(train)].sort().values
        chosen, part = train.select(rows), noise.select(rows)
        return Data(chosen.with_labels(part.labels), validation, part)

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


def measure(arm: str, config: TrainConfig, data: Data) -> dict[str, Any]:
    """Train one arm; the figures of its row."""
    if data.noise is None:
        raise SystemExit("the benchmark needs noise")
    with tempfile.TemporaryDirectory() as folder:
        fitted = train_on(data, replace(config, out=Path(folder) / "run", **ARMS[arm]))
    result, row = fitted.result, fitted.rows[-1]
    memorised = float((fitted.ledger.score < 0.5).float().mean()) if arm == "plain" else None
    return {
        "train": len(data.train),
        "wrong": int(data.noise.changed.sum()),
        "last": result["last"]["accuracy"],
        "best": result["best"]["accuracy"],
        "best_epoch": result["best"]["epoch"],
        "train_accuracy": row["train_accuracy"],
        "fitted": memorised,
        "hidden": row["hidden"],
        "samples_seen": result["costs"]["samples_seen"],
        "seconds": round(result["costs"]["seconds_training"], 1),
        **detectors(fitted, data, data.noise),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="digits, or a name and a path: cifar10=/path")
    parser.add_argument("--epochs", type=int, nargs="+", default=[15, 30, 90])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--images", type=int, default=0, help="training images to take; 0 = all")
    parser.add_argument("--model", default="small")
    parser.add_argument("--noise", default="symmetric")
    parser.add_argument("--ratio", type=float, default=0.4)
    parser.add_argument("--flip", action="store_true")
    parser.add_argument("--crop", type=int, default=0)
    parser.add_argument("--amp", default="none")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", default="noise", help="file of results")
    given = parser.parse_args()
    name, _, path = given.data.partition("=")
    base = TrainConfig(
        data=Path(path or name), model=given.model, noise=given.noise, noise_ratio=given.ratio, flip=given.flip,
        crop=given.crop, amp=given.amp, channels_last=True, threads=given.threads, history=False, calibrate=False,
    )  # fmt: skip
    data_of = splits(name, base, given.images)
    noise = "human (worse)" if given.noise.endswith(".npz") else f"{given.noise} {given.ratio}"
    for epochs in given.epochs:
        for seed in given.seeds:
            for arm in given.arms:
                identity = {"data": name, "images": given.images, "noise": noise, "model": given.model}
                identity |= {"epochs": epochs, "seed": seed, "arm": arm}
                if done(given.name, **identity):
                    continue
                row = identity | measure(arm, replace(base, epochs=epochs, seed=seed), data_of(seed))
                append(given.name, row)
                print(*(f"{key}={value}" for key, value in row.items() if key != "environment"), flush=True)


if __name__ == "__main__":
    main()
