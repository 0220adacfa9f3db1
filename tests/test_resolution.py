import json
import math
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import reference_culling as reference
from tamis.culling.resolution import opt_resolution, shrunk
from tamis.detections import Detections
from tamis.scores import ConfidenceLoss

HEIGHT, WIDTH = 100, 200


class Fake:
    """A detector that finds a box of half the image with a confidence that depends on the image and its scale."""

    class_names = ("car",)

    def __init__(self, confidence: Callable[[int, float], float]) -> None:
        self.confidence, self.sizes = confidence, []

    def __call__(self, images: Tensor) -> list[Detections]:
        height, width = images.shape[2:]
        self.sizes.append((width, height))
        box = torch.tensor([[0.0, 0.0, width / 2, height / 2]])
        numbers = images.float().mean((1, 2, 3)).round().int().tolist()
        found = [self.confidence(number, width / WIDTH) for number in numbers]
        return [Detections(box, torch.tensor([x]), torch.zeros(1, dtype=torch.int64)) for x in found]


def frames(count: int = 3, batch: int = 2, height: int = HEIGHT, width: int = WIDTH) -> Callable[[], list[Tensor]]:
    """Images that are all of their number."""
    images = torch.arange(count).byte()[:, None, None, None].expand(count, 3, height, width)
    return lambda: list(images.split(batch))


def falling(number: int, scale: float) -> float:
    return (0.95 - number / 20) * scale**2


def score(images: Sequence[Detections]) -> Tensor:
    """Of one box each: its confidence."""
    return torch.cat([one.scores for one in images])


# ----- the search -----------------------------------------------------------------------------------------------


@given(st.floats(0, 0.5), st.integers(1, 9), st.integers(1, 4))
def test_the_search_is_that_of_the_paper(threshold, steps, count):
    detector = Fake(falling)
    found = opt_resolution(frames(count), detector, score, threshold=threshold, max_n=steps, relative=False, min_side=1)

    def scores(scale: float) -> list[float]:
        width = math.floor(WIDTH * scale + 0.5)
        return torch.tensor([falling(number, width / WIDTH) for number in range(count)]).tolist()

    errors, chosen = reference.opt_resolution(scores, threshold, steps)
    assert [size.error for size in found.sizes] == pytest.approx(errors, abs=1e-12)
    assert found.chosen == chosen
    assert found.size.scale == pytest.approx(0.9**chosen)
    assert found.images == count


def test_it_stops_at_the_first_that_exceeds_the_threshold_strictly():
    steps = {1.0: 0.0, 0.9: 0.5, 0.81: 0.5, 0.729: 0.75, 0.6561: 0.0}
    detector = Fake(lambda number, scale: min(steps.items(), key=lambda step: abs(step[0] - scale))[1])
    arguments = {"relative": False, "max_n": 4, "min_side": 1}
    assert opt_resolution(frames(), detector, score, threshold=0.25, **arguments).chosen == 2
    assert opt_resolution(frames(), detector, score, threshold=0.2499, **arguments).chosen == 0
    assert opt_resolution(frames(), detector, score, threshold=0.6, **arguments).chosen == 4
    stopped = opt_resolution(frames(), detector, score, threshold=0.25, **arguments)
    assert len(stopped.sizes) == 4
    on = opt_resolution(frames(), detector, score, threshold=0.25, all_sizes=True, **arguments)
    assert on.chosen == 2
    assert [size.error for size in on.sizes] == [0, 0.25, 0.25, 0.5625, 0]


def test_sizes_are_rounded_to_the_nearest_pixel_each_from_the_full_size():
    detector = Fake(lambda number, scale: 0.5)
    found = opt_resolution(frames(1, height=105, width=205), detector, score, max_n=3, min_side=1)
    expected = [(205, 105), (185, 95), (166, 85), (149, 77)]  # 184.5, 94.5, 166.05, 85.05, 149.4, 76.5
    assert [(size.width, size.height) for size in found.sizes] == expected
    assert detector.sizes == expected


def test_no_size_below_the_floor_is_looked_at():
    detector = Fake(lambda number, scale: 0.5)
    found = opt_resolution(frames(), detector, score, max_n=10, min_side=73)
    assert [size.height for size in found.sizes] == [100, 90, 81, 73]
    assert found.chosen == 3
    assert opt_resolution(frames(), detector, score, min_side=500).chosen == 0


def test_the_sum_is_that_of_the_images():
    arguments = {"max_n": 1, "relative": False, "min_side": 1}
    mean = opt_resolution(frames(4), Fake(falling), score, **arguments).sizes[1].error
    total = opt_resolution(frames(4), Fake(falling), score, reduction="sum", **arguments).sizes[1].error
    assert total == pytest.approx(4 * mean)
    relative = [
        opt_resolution(frames(4), Fake(falling), score, reduction=reduction, max_n=1).sizes[1].error
        for reduction in ("mean", "sum")
    ]
    assert relative[0] == pytest.approx(relative[1])


def test_a_relative_error_does_not_depend_on_the_number_of_objects():
    def crowd(images: Sequence[Detections]) -> Tensor:
        return 20 * score(images)

    relative = [opt_resolution(frames(), Fake(falling), by) for by in (score, crowd)]
    assert relative[0].sizes[1].error == pytest.approx((1 - 0.81) ** 2)  # every score falls to 0.81 of what it was
    assert [size.error for size in relative[0].sizes] == pytest.approx([size.error for size in relative[1].sizes])
    plain = [opt_resolution(frames(), Fake(falling), by, relative=False, max_n=1) for by in (score, crowd)]
    assert plain[1].sizes[1].error == pytest.approx(400 * plain[0].sizes[1].error)


def test_where_nothing_is_seen_at_full_size_any_change_is_too_much():
    quiet = opt_resolution(frames(), Fake(lambda number, scale: 0.0), score, max_n=2, min_side=1)
    assert [size.error for size in quiet.sizes] == [0, 0, 0]
    assert quiet.chosen == 2
    found = opt_resolution(frames(), Fake(lambda number, scale: 1 - scale), score, max_n=2, min_side=1)
    assert [size.error for size in found.sizes] == [0, math.inf]
    assert found.chosen == 0
    assert found.as_dict()["errors"] == [0, None]


def test_a_score_that_is_no_number_ends_the_search():
    detector = Fake(lambda number, scale: 0.5 if scale > 0.85 else math.nan)
    found = opt_resolution(frames(), detector, score)
    assert found.chosen == 1
    assert len(found.sizes) == 3


# ----- boxes, figures -------------------------------------------------------------------------------------------


def test_boxes_are_scaled_back_before_they_are_scored():
    seen = []

    def sides(images: Sequence[Detections]) -> Tensor:
        seen.append(torch.cat([one.boxes for one in images]))
        return ConfidenceLoss(min_side=HEIGHT / 2 - 1)(images)

    found = opt_resolution(frames(), Fake(lambda number, scale: 0.5), sides, max_n=5, min_side=1)
    assert [size.error for size in found.sizes] == [0] * 6
    assert all(torch.allclose(boxes, torch.tensor([0, 0, WIDTH / 2, HEIGHT / 2])) for boxes in seen)


def test_figures_of_each_size_are_told():
    truth = [Detections(torch.tensor([[0.0, 0, 100, 50]]), torch.ones(1), torch.zeros(1).long())] * 3
    found = opt_resolution(
        frames(), Fake(falling), score, threshold=1, max_n=2, truth=truth, flops=lambda height, width: height * width
    )
    assert [size.flops for size in found.sizes] == [20_000, 16_200, 13_122]
    assert [size.map50 for size in found.sizes] == pytest.approx([1, 1, 1])
    assert all(size.seconds > 0 for size in found.sizes)
    kept = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert set(kept) == {
        *("scales", "widths", "heights", "errors", "seconds", "flops", "map50"),
        *("chosen", "threshold", "relative", "images"),
    }
    assert (kept["widths"][1], kept["heights"][1], kept["threshold"]) == (180, 90, 1)
    plain = opt_resolution(frames(), Fake(falling), score, max_n=1, truth=[Detections.none()] * 3)
    assert plain.as_dict()["flops"] == plain.as_dict()["map50"] == [None, None]


def test_images_of_several_sizes_are_scaled_alike():
    both = [*frames(2)(), *frames(1, height=50, width=60)(), torch.zeros(0, 3, 10, 10, dtype=torch.uint8)]
    detector = Fake(lambda number, scale: 0.5)
    found = opt_resolution(lambda: both, detector, score, max_n=1, min_side=1)
    assert detector.sizes == [(200, 100), (60, 50), (180, 90), (54, 45)]
    assert (found.size.width, found.size.height, found.images) == (180, 90, 3)


def test_shrinking_keeps_the_mean_of_what_it_covers():
    stripes = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    stripes[..., ::2] = 200
    small = shrunk(stripes, 21, 21)
    assert small.dtype == torch.uint8
    assert small.float().mean().item() == pytest.approx(100, abs=3)
    assert small.float().std().item() < 10  # without aliasing
    assert torch.equal(shrunk(stripes, 64, 64), stripes)


# ----- refusals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"threshold": -0.1}, "threshold must be at least 0"),
        ({"threshold": math.nan}, "threshold must be at least 0"),
        ({"factor": 1.0}, r"factor must be in \(0, 1\)"),
        ({"max_n": 0}, "max_n must be at least 1"),
        ({"reduction": "max"}, "reduction must be 'mean' or 'sum'"),
    ],
)
def test_settings_out_of_range_are_refused(wrong, text):
    with pytest.raises(ValueError, match=text):
        opt_resolution(frames(), Fake(falling), score, **wrong)


def test_no_image_at_all_is_refused():
    with pytest.raises(ValueError, match="at least one image, got none"):
        opt_resolution(list, Fake(falling), score)


def test_images_that_are_gone_on_the_second_look_are_refused():
    looks = iter([frames(3)(), frames(2)()])
    with pytest.raises(ValueError, match="the same at every scale, got 3 and 2"):
        opt_resolution(lambda: next(looks), Fake(falling), score)
