"""Counting by maps of density: what the loss of an image is, and how a counter is judged."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tamis.batch import Batch
from tamis.tasks.count_metrics import game, mae, psnr, rmse, ssim
from tamis.tasks.noise_scale import noise_scaled, sigma_level
from tamis.temperature import DataParameters

Forward = Callable[[Tensor], Tensor]
_Block = tuple[int, int, int, int]  # along a side: the tile from, kept from, kept to, the tile to, in pixels
_FIGURES = ("count", "predicted_count", "loss", "game1", "game2", "game3", "ssim", "psnr")


@dataclass(frozen=True, eq=False)
class Counted:
    """What a counter makes of one image.

    Attributes:
        index: the image's position in the data set.
        count: true, the sum of `true`.
        predicted_count: the sum of `predicted`; it can be below 0.
        loss: Eq. 2, in units of density.
        game1, game2, game3: GAME(L), Eq. 4.
        ssim: None without `quality`, and where it is not defined.
        psnr: the same, in dB.
        true: float32 (h, w), on the CPU.
        predicted: float32 (h, w), on the CPU.
    """

    index: int
    count: float
    predicted_count: float
    loss: float
    game1: float
    game2: float
    game3: float
    ssim: float | None
    psnr: float | None
    true: Tensor
    predicted: Tensor


@dataclass(frozen=True)
class Counting:
    """Squared distance between maps of density, summed over the pixels of an image (Eq. 2).

    Attributes:
        score: what the ledger is told of how hard an image is: its loss ("image"), or that over the cells of its map
            ("pixel": images that differ in size compare), or over its count, at least 1 ("head").
        scale: what the model gives, over this, is the density. The loss that is trained on is that of scaled maps,
            sum (output - scale · target)²: Eq. 2 times scale². Densities are small numbers; 100 is usual.
        quality: `evaluate` also tells SSIM and PSNR; needs torchmetrics.
        tile: without gradients, images with a side of more pixels are cut into tiles of at most tile x tile pixels;
            0 = never. For memory only: the map is the same.
        margin: pixels by which the tiles overlap to each side. As much as the counters here see at most (138, CSRNet);
            a network that sees farther needs more.
        metric: what `evaluate` is compared by.
        lower_is_better: whether the best is the lowest.

    Raises:
        ValueError: an unknown score, a scale that is not above 0, or a tile that the margins leave nothing of.
    """

    score: Literal["image", "pixel", "head"] = "image"
    scale: float = 1.0
    quality: bool = False
    tile: int = 0
    margin: int = 144
    metric: str = "mae"
    lower_is_better: bool = True

    def __post_init__(self) -> None:
        if self.score not in ("image", "pixel", "head"):
            raise ValueError(f"score must be 'image', 'pixel' or 'head', got {self.score!r}")
        if not 0 < self.scale < math.inf:
            raise ValueError(f"scale must be above 0 and finite, got {self.scale!r}; 100 is usual")
        if self.margin < 0:
            raise ValueError(f"margin must be at least 0 pixels, got {self.margin!r}")
        if self.tile and self.tile <= 2 * self.margin:
            raise ValueError(
                f"tile must be 0 or more than twice the margin of {self.margin} pixels, got {self.tile!r}; "
                f"take {4 * self.margin}"
            )

    def losses(
        self, model: Forward, batch: Batch, temperature: DataParameters | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One loss per image, and what the history keeps of each.

        Args:
            model: maps images to maps (b, 1, h, w), scaled.
            batch: images (b, 3, H, W), maps of density (b, 1, h, w).
            temperature: of instances: a noise scale for each image, see `noise_scaled`. Sigma = 1 stands for maps that
                have nothing in common: the squares of both, summed. Where less than a head is in view, what lacks is
                added, in a single cell. So sigma² goes to 1 less the overlap of the maps (Dice). An image's weight is
                the typical sigma² over its own: equal sigmas are the plain loss.

        Returns:
            float32 (b,), with gradients: sum over the pixels of (output - scale · target)², scaled by the noise; its
            mean over the batch is for the caller to take. And detached columns float32 (b,): loss (the sum without
            scale² and noise), score, count, predicted_count.

        Raises:
            ValueError: class parameters, or a model whose maps have another shape than the targets.
        """
        outputs, targets = self._outputs(model, batch), batch.targets.float()
        losses = (outputs - self.scale * targets).square().sum((1, 2, 3))
        loss = losses.detach() / self.scale**2
        count = targets.sum((1, 2, 3))
        if temperature is not None:
            losses = self._noise_scaled(losses, outputs.detach(), self.scale * targets, batch.index, temperature)
        over = {"image": 1, "pixel": math.prod(targets.shape[1:]), "head": count.clamp(min=1)}[self.score]
        columns = {
            "loss": loss,
            "score": loss / over,
            "count": count,
            "predicted_count": outputs.detach().sum((1, 2, 3)) / self.scale,
        }
        return losses, columns

    def _noise_scaled(
        self, losses: Tensor, outputs: Tensor, targets: Tensor, index: Tensor, rows: DataParameters
    ) -> Tensor:
        if rows.log_sigma_instance is None or rows.log_sigma_class is not None:
            raise ValueError("temperature must be of instances for counting, got class rows; there are no classes")
        lacking = (self.scale - targets.sum((1, 2, 3))).clamp(min=0) * self.scale
        unit = (outputs.square() + targets.square()).sum((1, 2, 3)) + lacking
        typical = sigma_level(rows.log_sigma_instance).to(losses.device)
        sigma = rows.sigma(index, index).to(losses.device)  # labels play no part without classes
        return noise_scaled(losses, sigma / typical, unit * typical**2)

    def evaluate(self, model: Forward, batches: Iterable[Batch]) -> dict[str, float]:
        """Figures over all images; the model's mode is left to the caller.

        Returns:
            mae, rmse, game1 to game3, loss (Eq. 2 in units of density) and count, each a mean over the images (NaN
            without any). With `quality` also ssim and psnr, means over the images that have them, left out where none
            has; and quality_skipped, how many lack one: those without a head, or with a map smaller than the window.
        """
        columns: dict[str, list[float | None]] = {name: [] for name in _FIGURES}
        for row in self.per_image(model, batches):
            for name, values in columns.items():
                values.append(getattr(row, name))
        found = {name: _known(values) for name, values in columns.items()}
        predicted, count = found["predicted_count"], found["count"]
        figures = {"mae": mae(predicted, count), "rmse": rmse(predicted, count)}
        figures |= {name: found[name].mean().item() for name in ("game1", "game2", "game3", "loss", "count")}
        if self.quality:
            figures |= {name: found[name].mean().item() for name in ("ssim", "psnr") if len(found[name])}
            figures["quality_skipped"] = float(len(count) - min(len(found["ssim"]), len(found["psnr"])))
        return figures

    def per_image(self, model: Forward, batches: Iterable[Batch]) -> Iterator[Counted]:
        """What `evaluate` takes the means of, image by image, with both maps.

        Args:
            model: in the mode to judge it in.
            batches: whole images, of one size within a batch.
        """
        for batch in batches:
            if len(batch):
                yield from self._counted(model, batch)

    def density(self, model: Forward, inputs: Tensor, stride: int) -> Tensor:
        """Images (b, 3, H, W) -> density (b, 1, H // stride, W // stride), by tiles as told by `tile`."""
        return self._forward(model, inputs, stride) / self.scale

    def _outputs(self, model: Forward, batch: Batch) -> Tensor:
        """Scaled maps float32 (b, 1, h, w), of the targets' shape."""
        targets = batch.targets.shape
        if len(targets) != 4 or targets[1] != 1:
            raise ValueError(
                f"targets must be maps (b, 1, h, w), got {tuple(targets)}; take a source of counted images"
            )
        outputs = self._forward(model, batch.inputs, max(1, batch.inputs.shape[2] // max(1, targets[2])))
        if outputs.shape != targets:
            raise ValueError(
                f"maps of the model must be {tuple(targets)} as the targets, got {tuple(outputs.shape)}; "
                f"give the source the stride of the model"
            )
        return outputs

    def _forward(self, model: Forward, inputs: Tensor, stride: int) -> Tensor:
        sizes = inputs.shape[2:]
        if not self.tile or max(sizes) <= self.tile or torch.is_grad_enabled():
            return model(inputs).float()
        rows, columns = (self._blocks(size, stride) for size in sizes)
        return torch.cat([torch.cat([_block(model, inputs, stride, y, x) for x in columns], 3) for y in rows], 2)

    def _blocks(self, length: int, stride: int) -> list[_Block]:
        """How a side is cut: tiles start at multiples of the stride, so that pools fall on the same pixels."""
        if length <= self.tile:
            return [(0, 0, length, length)]
        margin = math.ceil(self.margin / stride) * stride
        inside = (self.tile - 2 * margin) // stride * stride
        if inside < 1:
            raise ValueError(
                f"tile must hold a stride of {stride} between two margins of {margin} pixels, got {self.tile!r}; "
                f"take {4 * margin}"
            )
        starts = range(0, length, inside)
        return [(max(0, at - margin), at, min(length, at + inside), min(length, at + inside + margin)) for at in starts]

    def _counted(self, model: Forward, batch: Batch) -> Iterator[Counted]:
        with torch.inference_mode():
            predicted = (self._outputs(model, batch) / self.scale)[:, 0].cpu()
        true = batch.targets[:, 0].float().cpu()
        games = [game(predicted, true, level).tolist() for level in (1, 2, 3)]
        for place, index in enumerate(batch.index.tolist()):
            yield Counted(
                index=index,
                count=true[place].double().sum().item(),
                predicted_count=predicted[place].double().sum().item(),
                loss=(predicted[place].double() - true[place].double()).square().sum().item(),
                game1=games[0][place],
                game2=games[1][place],
                game3=games[2][place],
                ssim=ssim(predicted[place], true[place]) if self.quality else None,
                psnr=psnr(predicted[place], true[place]) if self.quality else None,
                true=true[place],
                predicted=predicted[place],
            )


def _block(model: Forward, inputs: Tensor, stride: int, rows: _Block, columns: _Block) -> Tensor:
    """The map of a tile, without its margins."""
    (top, first, last, bottom), (left, start, end, right) = rows, columns
    outputs = model(inputs[:, :, top:bottom, left:right]).float()
    kept = slice((first - top) // stride, (last - top) // stride)
    return outputs[:, :, kept, (start - left) // stride : (end - left) // stride]


def _known(values: list[float | None]) -> Tensor:
    """float64 of those that are defined."""
    return torch.tensor([value for value in values if value is not None], dtype=torch.float64)
