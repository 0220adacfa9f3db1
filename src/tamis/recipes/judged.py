"""What a trained model says of the images that it is judged by: calibration, and counts with their maps."""

import importlib.util
import os
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tamis.data import CountedImages, Images
from tamis.files import sync_file, sync_folder
from tamis.fit import Settings, whole_plan
from tamis.history import write_table
from tamis.tasks.calibration import ece, temperature_of
from tamis.tasks.classification import predictions
from tamis.tasks.counting import Counting

MOST_MAPS = 200
_FIGURES = ("count", "predicted", "game1", "game2", "game3", "ssim", "psnr")


def calibrate(model: nn.Module, validation: Images, settings: Settings) -> dict[str, float]:
    """Fit one temperature on the validation images; expected calibration error before and after.

    The second figure is of the images that the temperature was fitted on: a lower bound of what to expect.
    """
    device = settings.resolved_device()
    batches = validation.batches(torch.arange(len(validation)).split(512), epoch=0, seed=0, train=False)
    model.eval()
    pairs = [(z.cpu(), y.cpu()) for z, y in predictions(model, (batch.to(device) for batch in batches))]
    logits, labels = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    temperature = temperature_of(logits, labels)
    return {
        "temperature": temperature,
        "ece_before": ece(logits, labels),
        "ece_after": ece(logits / temperature, labels),
    }


@torch.inference_mode()
def write_predictions(
    folder: Path, model: nn.Module, task: Counting, validation: CountedImages, settings: Settings
) -> dict[str, float]:
    """Count the validation images, and write down every count and the maps of the first images.

    `validation.parquet`: index, key, count, predicted, game1 to game3, ssim, psnr of each image that could be read
    (null = not defined). `maps.safetensors`: "true/INDEX" and "predicted/INDEX", float32 (h, w), of at most 200.

    Returns:
        Means over the images: ssim and psnr, empty where torchmetrics is not installed or no image has them.
    """
    device = settings.resolved_device()
    plan = whole_plan(validation, settings.batch_size)
    batches = (each.to(device) for each in validation.batches(plan, epoch=0, seed=0, train=False) if len(each))
    model.eval()
    rows, maps = [], {}
    for row in replace(task, quality=importlib.util.find_spec("torchmetrics") is not None).per_image(model, batches):
        figures = (row.count, row.predicted_count, row.game1, row.game2, row.game3, row.ssim, row.psnr)
        rows.append(
            {"index": row.index, "key": validation.keys[row.index], **dict(zip(_FIGURES, figures, strict=True))}
        )
        if row.index < MOST_MAPS:
            maps |= {f"true/{row.index}": row.true.contiguous(), f"predicted/{row.index}": row.predicted.contiguous()}
    rows.sort(key=lambda row: row["index"])
    folder.mkdir(exist_ok=True)
    kinds = {"index": pa.int64(), "key": pa.string()} | {name: pa.float64() for name in _FIGURES}
    write_table(folder / "validation.parquet", pa.Table.from_pylist(rows, pa.schema(list(kinds.items()))))
    _write_maps(folder / "maps.safetensors", maps)
    found = {name: [row[name] for row in rows if row[name] is not None] for name in ("ssim", "psnr")}
    return {name: sum(values) / len(values) for name, values in found.items() if values}


def _write_maps(path: Path, maps: dict[str, Tensor]) -> None:
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    save_file(maps, temporary)
    sync_file(temporary)
    temporary.replace(path)
    sync_folder(path.parent)
