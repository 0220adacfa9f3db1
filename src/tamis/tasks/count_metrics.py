"""How far predicted counts and maps of density are from the true ones: pure functions.

A map is float (..., h, w); its sum is a count. A prediction that is not a number gives an error that is not a number.
"""

import torch
from torch import Tensor

_WINDOW, _SIGMA = 11, 1.5  # of SSIM, in cells (Wang et al. 2004)


def mae(predicted: Tensor, counts: Tensor) -> float:
    """Mean absolute error of counts (n,), mean |e - g| (Eq. 3, with the absolute value that its print lacks).

    NaN for no image at all.
    """
    return (predicted.double() - counts.double()).abs().mean().item()


def rmse(predicted: Tensor, counts: Tensor) -> float:
    """Root of the mean squared error of counts (n,); the papers on counting print it as MSE. NaN for no image."""
    return (predicted.double() - counts.double()).square().mean().sqrt().item()


def game(predicted: Tensor, true: Tensor, level: int = 0, *, grid: tuple[int, int] | None = None) -> Tensor:
    """Grid average error of each image: the absolute count errors of the cells, summed (Eq. 4).

    The sides are cut into 2^level parts at floor(i · side / 2^level), so parts differ by one row at most, and a map of
    fewer rows than parts has empty ones. GAME(0) is the absolute error of the count; it never falls with the level.

    Args:
        predicted: maps (..., h, w).
        true: maps of the same shape.
        level: L of GAME(L), at least 0.
        grid: rows and columns to cut into instead. The paper's own GAME is of (4, 4), which is GAME(2).

    Returns:
        float64 (...), in [0, inf).

    Raises:
        ValueError: shapes that differ, a negative level, or a grid without cells.
    """
    if predicted.shape != true.shape or predicted.ndim < 2:
        raise ValueError(
            f"maps must be of one shape (..., h, w), got {tuple(predicted.shape)} and {tuple(true.shape)}; "
            f"bring the true map to the stride of the model"
        )
    if level < 0:
        raise ValueError(f"level must be at least 0, got {level!r}; GAME(0) is the error of the count")
    rows, columns = grid or (2**level, 2**level)
    if rows < 1 or columns < 1:
        raise ValueError(f"grid must have at least 1 row and 1 column, got {grid!r}; take (4, 4)")
    errors = predicted.double() - true.double()
    for axis, parts in ((-2, rows), (-1, columns)):
        length = errors.shape[axis]
        cuts = [index * length // parts for index in range(1, parts)]
        errors = torch.stack([part.sum(axis) for part in errors.tensor_split(cuts, axis)], axis)
    return errors.abs().sum((-2, -1))


def ssim(predicted: Tensor, true: Tensor) -> float | None:
    """Structural similarity of two maps (h, w), (2μxμy+C1)(2σxy+C2) / ((μx²+μy²+C1)(σx²+σy²+C2)), in [-1, 1].

    The standard form (Wang et al. 2004; the print of Eq. 5 has lost signs): Gaussian window of 11 x 11 cells with sigma
    1.5, C1 = (0.01 R)², C2 = (0.03 R)², mean over the windows that lie inside the map. The data range R is the maximum
    of the true map. 1 = equal maps.

    Returns:
        None where it is not defined: nothing is in the true map, or a side is shorter than the window.

    Raises:
        ImportError: torchmetrics is not installed.
    """
    peak = true.max().item() if true.numel() else 0.0
    if min(true.shape) < _WINDOW or not peak > 0:
        return None
    try:
        from torchmetrics.functional.image import structural_similarity_index_measure
    except ImportError as error:
        raise ImportError("SSIM needs torchmetrics, got no such package; pip install 'tamis[counting]'") from error
    # Its own mean takes in the windows over a mirrored border; other libraries and the paper of SSIM do not.
    _, windows = structural_similarity_index_measure(
        predicted[None, None].double(),
        true[None, None].double(),
        sigma=_SIGMA,
        kernel_size=_WINDOW,
        data_range=peak,
        return_full_image=True,
    )
    border = _WINDOW // 2
    height, width = true.shape
    return windows[..., border : height - border, border : width - border].mean().item()


def psnr(predicted: Tensor, true: Tensor) -> float | None:
    """Peak signal-to-noise ratio of two maps (h, w) in dB, 10 log10(R² / MSE) (Eq. 6); inf = equal maps.

    The data range R is the maximum of the true map; numbers from maps scaled to 8 bits (R = 255) do not compare.

    Returns:
        None where it is not defined: nothing is in the true map.

    Raises:
        ImportError: torchmetrics is not installed.
    """
    peak = true.max().item() if true.numel() else 0.0
    if not peak > 0:
        return None
    try:
        from torchmetrics.functional.image import peak_signal_noise_ratio
    except ImportError as error:
        raise ImportError("PSNR needs torchmetrics, got no such package; pip install 'tamis[counting]'") from error
    return peak_signal_noise_ratio(predicted.double(), true.double(), data_range=peak).item()
