"""The configuration of `tamis resize`: plain data, without torch."""

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

from tamis.recipes.checks import check_ranges, check_types


@dataclass(frozen=True)
class ResizeConfig:
    """Settings of `tamis resize`.

    Attributes:
        data: images with boxes (docs/detection_data.md), such as what `tamis cull` wrote, or a video or images without.
        student: the detector that will run at that size: the run folder of a training, or as of `tamis cull`.
        out: folder for resolution.json and resolution.svg; nothing is ever written beside the data.
        threshold: greatest change of the confidence loss that is accepted: its mean square over that of the confidence
            loss at full size; with --absolute, its mean square, as the paper has it.
        absolute: see threshold.
        factor: between a size and the next smaller one, in (0, 1).
        steps: most sizes below the full one.
        min_side: no size whose smaller side has fewer pixels is looked at.
        images: look at so many images at most, evenly chosen.
        onnx: write the detector as this ONNX file, for the chosen size.
        device: auto, cpu, cuda, cuda:1, mps.
        amp: autocast to a shorter number format.
        threads: threads of torch on the CPU; 0 = its own choice.

    Raises:
        ValueError: a number outside its range.
    """

    data: Path
    _: KW_ONLY
    student: str
    out: Path = Path("tamis-resize")
    threshold: float = 0.02
    absolute: bool = False
    factor: float = 0.9
    steps: int = 10
    min_side: int = 64
    images: int = 256
    onnx: Path | None = None
    device: str = "auto"
    amp: Literal["none", "bf16", "fp16"] = "none"
    threads: int = 0

    def __post_init__(self) -> None:
        check_types(self)
        check_ranges(self)
        for name in ("steps", "min_side", "images"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        if self.onnx is not None and self.onnx.suffix != ".onnx":
            raise ValueError(f"onnx must end in .onnx, got {str(self.onnx)!r}")
