"""Table 2 of the data-parameters paper at full size: CIFAR under 40 % symmetric noise, WRN-28-10, 84 epochs.

One command a seed; it goes on after the last finished epoch if it is started again. A seed of an arm takes about 130
PFLOP: by the arithmetic 4 to 8 minutes on one data-centre GPU in bf16, not measured yet. Settings as published: SGD 0.1
with momentum 0.9 (Nesterov), weight decay 5e-4, batches of 128, x 0.1 at epoch 80, shifts of 4 pixels and flips;
instance lr 0.2 for the mean loss, no decay.

    python benchmarks/paper_cifar.py --data /path/to/cifar-10-batches-bin --out runs/paper --arm dcl --seed 0
    python benchmarks/paper_cifar.py --data /path --out /tmp/thin --model wrn-10-1 --epochs 2    # does it run?
"""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from record import append
from tamis.recipes.config import TrainConfig
from tamis.recipes.train import load, train_on
from tamis.scores import auroc

ARMS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "dcl": {"data_parameters": "instance", "preset": "published"},
    "dcl, our defaults": {"data_parameters": "instance"},
    "sigma-drop": {"data_parameters": "instance", "method": "sigma-drop"},
    "oracle": {"oracle": True},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arm", choices=ARMS, default="dcl")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=84)
    parser.add_argument("--model", default="wrn-28-10")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--amp", default="bf16")
    given = parser.parse_args()
    config = TrainConfig(
        data=given.data,
        out=given.out / f"{given.arm.replace(', ', '-').replace(' ', '-')}-seed{given.seed}",
        model=given.model,
        epochs=given.epochs,
        schedule="steps",
        steps=[80 / 84],
        noise="symmetric",
        noise_ratio=0.4,
        crop=4,
        amp=given.amp,
        channels_last=True,
        device=given.device,
        seed=given.seed,
        **ARMS[given.arm],
    )
    data = load(config)
    fitted = train_on(data, config, Console())
    row: dict[str, Any] = {
        "data": given.data.name,
        "train": len(data.train),
        "model": given.model,
        "epochs": given.epochs,
        "arm": given.arm,
        "seed": given.seed,
        "last": fitted.result["last"]["accuracy"],
        "best": fitted.result["best"]["accuracy"],
        "seconds": round(fitted.result["costs"]["seconds_training"], 1),
    }
    rows = None if fitted.temperature is None else fitted.temperature.log_sigma_instance
    if rows is not None and data.noise is not None:
        row["auroc_sigma"] = auroc(rows.detach().cpu(), data.noise.changed)
    append("paper-cifar", row, str(next(fitted.model.parameters()).device))
    print(row)


if __name__ == "__main__":
    main()
