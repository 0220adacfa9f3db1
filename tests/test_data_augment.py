"""Augmentation against one-sample-at-a-time references and torchvision."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

from tamis.data.augment import ATTEMPTS, PadCrop, ResizedCrop, normalise, statistics
from tamis.moment import uniforms


def slow_pad_crop(image: torch.Tensor, uniform: list[float], flip: bool, pad: int, fill: str) -> torch.Tensor:
    _, height, width = image.shape
    result = torch.zeros_like(image)
    top, left = (int(u * (2 * pad + 1)) - pad for u in uniform[:2])
    for row in range(height):
        for column in range(width):
            r, c = row + top, (width - 1 - column if flip and uniform[2] < 0.5 else column) + left
            if fill == "reflect":
                r = -r if r < 0 else 2 * (height - 1) - r if r >= height else r
                c = -c if c < 0 else 2 * (width - 1) - c if c >= width else c
            if 0 <= r < height and 0 <= c < width:
                result[:, row, column] = image[:, r, c]
    return result


@pytest.mark.parametrize("fill", ["zero", "reflect"])
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("pad", [0, 1, 3])
def test_pad_crop_is_the_loop_over_pixels(fill, flip, pad):
    images = torch.randint(1, 256, (12, 3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    draws = uniforms(0, 0, torch.arange(12), "x", 3)
    got = PadCrop(flip, pad, fill)(images, draws)
    want = [slow_pad_crop(i, u, flip, pad, fill) for i, u in zip(images, draws.tolist(), strict=True)]
    assert torch.equal(got, torch.stack(want))


def test_pad_crop_reaches_every_place_equally_often():
    draws = uniforms(0, 0, torch.arange(9000), "x", 3)
    image = torch.arange(1, 10, dtype=torch.uint8).reshape(1, 1, 3, 3).expand(9000, 1, 3, 3)
    centre = PadCrop(pad=1)(image, draws)[:, 0, 1, 1]
    counts = torch.bincount(centre.long(), minlength=10)[1:]
    assert counts.min() > 850
    assert counts.max() < 1150


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PadCrop(pad=-1), "pad must be at least 0"),
        (lambda: PadCrop(fill="wrap"), "fill must be"),  # pyright: ignore[reportArgumentType]
        (lambda: ResizedCrop(0), "size must be at least 1"),
        (lambda: ResizedCrop(8, scale=(0, 1)), "scale must be"),
        (lambda: ResizedCrop(8, scale=(0.5, 0.4)), "scale must be"),
        (lambda: ResizedCrop(8, ratio=(2, 1)), "ratio must be"),
    ],
)
def test_wrong_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_reflecting_more_than_the_image_is_refused():
    with pytest.raises(ValueError, match="pad must be smaller than the image"):
        PadCrop(pad=4, fill="reflect")(torch.zeros(1, 1, 4, 9, dtype=torch.uint8), torch.zeros(1, 3))


@given(st.integers(1, 400), st.integers(1, 400), st.lists(st.floats(0, 1, exclude_max=True), min_size=23, max_size=23))
@settings(max_examples=200, deadline=None)
def test_box_is_inside_the_image(width, height, uniform):
    left, top, w, h = ResizedCrop(8).box(width, height, uniform)
    assert w >= 1
    assert h >= 1
    assert 0 <= left <= width - w
    assert 0 <= top <= height - h


def test_box_has_the_asked_area_and_shape():
    crop = ResizedCrop(8, scale=(0.2, 0.6), ratio=(0.5, 2.0))
    areas, shapes = [], []
    for uniform in uniforms(0, 0, torch.arange(2000), "x", crop.draws).tolist():
        _, _, w, h = crop.box(1000, 1000, uniform)
        areas.append(w * h / 1e6)
        shapes.append(math.log2(w / h))
    assert 0.2 <= min(areas) < 0.21
    assert 0.59 < max(areas) <= 0.61
    assert abs(sum(shapes)) / 2000 < 0.05  # symmetric in the logarithm
    assert max(map(abs, shapes)) <= 1.01


def test_a_hopeless_shape_takes_the_centre():
    left, top, w, h = ResizedCrop(8).box(1000, 10, [0.99] * (2 * ATTEMPTS + 3))
    assert (left, top, w, h) == ((1000 - 13) // 2, 0, 13, 10)


@pytest.mark.parametrize("size", [(60, 40), (40, 60), (33, 33), (500, 17)])
def test_evaluation_is_torchvisions(size):
    noise = torch.randint(0, 256, (size[1], size[0], 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    image = Image.fromarray(noise.numpy())
    want = v2.Compose([v2.Resize(int(28 / 0.875)), v2.CenterCrop(28)])(image)
    assert ResizedCrop(28).evaluate(image).tobytes() == want.tobytes()


def test_training_without_randomness_is_a_resize():
    image = Image.effect_noise((40, 40), 60).convert("RGB")
    got = ResizedCrop(16, flip=False, scale=(1, 1), ratio=(1, 1)).train(image, [0.3] * 23)
    assert got.tobytes() == image.resize((16, 16), Image.Resampling.BILINEAR).tobytes()
    mirrored = ResizedCrop(16, scale=(1, 1), ratio=(1, 1)).train(image, [0.3] * 23)
    assert mirrored.tobytes() == got.transpose(Image.Transpose.FLIP_LEFT_RIGHT).tobytes()


def test_statistics_and_normalise():
    images = torch.randint(0, 256, (37, 3, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    mean, std = statistics(images, chunk=10)
    values = images.double() / 255
    torch.testing.assert_close(torch.tensor(mean).double(), values.mean((0, 2, 3)), atol=1e-7, rtol=0)
    torch.testing.assert_close(torch.tensor(std).double(), values.std((0, 2, 3), correction=0), atol=1e-7, rtol=0)
    scaled = normalise(images, mean, std)
    want = v2.functional.normalize(images.float() / 255, list(mean), list(std))
    torch.testing.assert_close(scaled, want, atol=1e-5, rtol=0)


def test_a_constant_channel_can_be_normalised():
    images = torch.full((2, 1, 3, 3), 51, dtype=torch.uint8)
    assert statistics(images) == ((pytest.approx(0.2),), (1.0,))
