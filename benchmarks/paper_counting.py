"""The CLIP paper's own table: MCNN, CSRNet and CSRNet_lite on four data sets, standard training and CLIP.

One command a cell; it goes on after its last checkpoint if it is started again. Settings are in `presets/`, which say
what is the paper's and what is not. CLIP takes its scores from a standard run of CSRNet, as the paper does, if there is
one in the same folder, else from a scorer of its own.

    python benchmarks/paper_counting.py --set mall --data mall_dataset --out runs --model csrnet --front-end vgg16.pth
    python benchmarks/paper_counting.py --set mall --data mall_dataset --out runs --model csrnet --arm clip
    python benchmarks/paper_counting.py --set shanghaitech-b --data sample --out thin --model mcnn --epochs 1 --try
"""

import argparse
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from record import append
from tamis.recipes.config import TrainConfig
from tamis.recipes.train import load, train_on

SETS = ("shanghaitech-a", "shanghaitech-b", "mall", "carpk")
MODELS = ("mcnn", "csrnet", "csrnet-lite")
PRESETS = Path(__file__).resolve().parents[1] / "presets"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=SETS, required=True, dest="name")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--arm", choices=("standard", "clip"), default="standard")
    parser.add_argument("--front-end", type=Path, help="ImageNet weights of VGG-16, for csrnet and csrnet-lite")
    parser.add_argument("--epochs", type=int, help="default: the preset's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--amp", default="none")
    parser.add_argument("--try", action="store_true", dest="trying", help="record nothing: does it run?")
    given = parser.parse_args()
    settings: dict[str, Any] = yaml.safe_load((PRESETS / f"{given.name}.yaml").read_text())
    if given.epochs:
        settings |= {"epochs": given.epochs}
    scorer = given.out / f"{given.name}-csrnet-standard-seed{given.seed}"
    clip: dict[str, Any] = {"method": "clip"} | ({"scorer": scorer} if (scorer / "result.json").is_file() else {})
    chosen: dict[str, Any] = settings | (clip if given.arm == "clip" else {})
    config = TrainConfig(
        data=given.data,
        out=given.out / f"{given.name}-{given.model}-{given.arm}-seed{given.seed}",
        model=given.model,
        front_end=given.front_end,
        seed=given.seed,
        device=given.device,
        amp=given.amp,
        **chosen,
    )
    data = load(config)
    result = train_on(data, config, Console()).result
    row = {"data": given.name, "model": given.model, "arm": given.arm, "seed": given.seed, "epochs": config.epochs}
    row |= {"train": len(data.train), "test": len(data.validation), **result["best"], **result.get("counting", {})}
    row |= {"last_mae": result["last"]["mae"], "seconds": result["costs"]["seconds_total"]}
    print(row)
    if not given.trying:
        append("paper-counting", row)


if __name__ == "__main__":
    main()
