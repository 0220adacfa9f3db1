"""The Data Parameters paper's own tables at full size: Table 1, Table 2 with 20 and 80 % noise, and section 3.5.

One command a cell and seed; it goes on after its last checkpoint if it is started again. Settings are in `presets/`,
as printed (paper) and as in the published code (published), which say what stands where and what is chosen here.
On data of CIFAR's size a seed of WRN-28-10 takes about 130 PFLOP in 84 epochs: by the arithmetic 4 to 8 minutes on one
data-centre GPU in bf16, not measured yet.

    python benchmarks/paper_labels.py --run cifar10-40 --arm instance --data cifar-10-batches-bin --out runs/paper
    python benchmarks/paper_labels.py --run imagenet --arm joint --reading published --data imagenet --out runs/paper
    python benchmarks/paper_labels.py --run cifar100-40 --data sample --out thin --model small --epochs 1 --try
"""

import argparse
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from record import append
from tamis.data import Noise
from tamis.recipes.config import TrainConfig
from tamis.recipes.train import load_for, train_on
from tamis.report.records import read_metrics
from tamis.scores import auroc

PRESETS = Path(__file__).resolve().parents[1] / "presets"
# What is trained: the preset's name without its reading, and the share of wrong labels.
RUNS: dict[str, tuple[str, float | None]] = {
    "imagenet": ("imagenet", None),
    "webvision": ("webvision", None),
    "cifar100": ("cifar100", None),
    "random-labels": ("random-labels", None),
    **{f"cifar{classes}-{ratio}": ("cifar-noise", ratio / 100) for classes in (10, 100) for ratio in (20, 40, 80)},
}
PLAIN: dict[str, Any] = {"data_parameters": "none", "preset": "default"}
ARMS: dict[str, dict[str, Any]] = {
    "baseline": PLAIN,
    "oracle": PLAIN | {"oracle": True},
    "class": {"data_parameters": "class"},
    "instance": {"data_parameters": "instance"},
    "joint": {"data_parameters": "joint"},
    "instance, our defaults": {"data_parameters": "instance", "preset": "default"},
    "sigma-drop, our defaults": {"data_parameters": "instance", "preset": "default", "method": "sigma-drop"},
}


def settings_of(run: str, arm: str, reading: str) -> dict[str, Any]:
    """The settings of a cell: its preset, the share of wrong labels, and what the arm changes."""
    name, ratio = RUNS[run]
    settings: dict[str, Any] = yaml.safe_load((PRESETS / f"{name}-{reading}.yaml").read_text())
    return settings | ({} if ratio is None else {"noise_ratio": ratio}) | ARMS[arm]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", choices=RUNS, required=True)
    parser.add_argument("--arm", choices=ARMS, default="instance")
    parser.add_argument("--reading", choices=("paper", "published"), default="paper")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", help="default: the preset's")
    parser.add_argument("--epochs", type=int, help="default: the preset's")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--amp", default="bf16")
    parser.add_argument("--try", action="store_true", dest="trying", help="record nothing: does it run?")
    given = parser.parse_args()
    changes = {name: getattr(given, name) for name in ("model", "epochs") if getattr(given, name)}
    config = TrainConfig(
        data=given.data,
        out=given.out / f"{given.run}-{given.arm.replace(', ', '-').replace(' ', '-')}-{given.reading}-{given.seed}",
        amp=given.amp,
        channels_last=True,
        device=given.device,
        workers=given.workers,
        seed=given.seed,
        **settings_of(given.run, given.arm, given.reading) | changes,
    )
    data = load_for(config)
    fitted = train_on(data, config, Console())
    row: dict[str, Any] = {"run": given.run, "arm": given.arm, "reading": given.reading, "seed": given.seed}
    row |= {"model": config.model, "epochs": config.epochs, "train": len(data.train), "test": len(data.validation)}
    row |= {"last": fitted.result["last"]["accuracy"], "best": fitted.result["best"]["accuracy"]}
    epochs, _ = read_metrics(config.folder / "metrics.jsonl")
    row |= {"fitted": epochs[-1]["train_accuracy"], "amp": config.amp}
    row |= {"seconds": round(fitted.result["costs"]["seconds_training"], 1)}
    rows = None if fitted.temperature is None else fitted.temperature.log_sigma_instance
    if rows is not None and isinstance(data.noise, Noise):
        row["auroc_sigma"] = auroc(rows.detach().cpu(), data.noise.changed)
    print(row)
    if not given.trying:
        append("paper-labels", row, str(next(fitted.model.parameters()).device))


if __name__ == "__main__":
    main()
