import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import reference_culling as reference
from tamis.detections import Detections
from tamis.scores import ConfidenceLoss, confidence_loss, normalized_mean

confidences = st.floats(0, 1, width=32)
images = st.lists(st.lists(st.tuples(confidences, st.integers(0, 3)), max_size=6), max_size=6)


def detections(*found: tuple[float, int], side: float = 10.0) -> Detections:
    boxes = torch.tensor([0.0, 0.0, side, side]).expand(len(found), 4)
    return Detections(
        boxes, torch.tensor([x for x, _ in found]), torch.tensor([c for _, c in found], dtype=torch.int64)
    )


def scores(loss: ConfidenceLoss, *confidence: list[float]) -> list[float]:
    return loss([detections(*((x, 0) for x in one)) for one in confidence]).tolist()


# ----- the formula ----------------------------------------------------------------------------------------------


@given(confidences)
def test_the_loss_is_that_of_the_paper(x):
    assert confidence_loss(torch.tensor(x)).item() == pytest.approx(reference.confidence_loss(x), rel=1e-12)


@given(confidences)
def test_published_is_that_of_the_published_code(x):
    published = ConfidenceLoss.published()
    found = confidence_loss(
        torch.tensor(x), q=published.q, b=published.b, log_base=published.log_base, log_offset=published.log_offset
    )
    assert found.item() == pytest.approx(reference.published_loss(x), rel=1e-12)


def test_it_is_finite_at_0_and_1():
    assert confidence_loss(torch.tensor([0.0, 1.0])).tolist() == [1.0, 0.5]
    assert ConfidenceLoss(min_confidence=0)([detections((0.0, 0)), detections((1.0, 0))]).tolist() == [1.0, 0.5]


def test_the_unsure_are_worth_four_times_the_sure():
    x = torch.linspace(0, 1, 1001)
    assert 3.9 < confidence_loss(x).max().item() / confidence_loss(x)[-1].item() < 4.0
    assert x[confidence_loss(x).argmax()].item() == pytest.approx(0.33, abs=0.01)


def test_the_published_weights_are_about_3_to_1():
    found = confidence_loss(torch.linspace(0, 1, 1001), q=4, log_base=10, log_offset=1e-5)
    assert found.max().item() / found[-1].item() == pytest.approx(3.06, abs=0.01)


# ----- images ---------------------------------------------------------------------------------------------------


@given(images)
def test_an_image_scores_the_sum_of_what_is_found(found):
    expected = [reference.image_score([((0, 0, 1, 1), x, c) for x, c in one]) for one in found]
    assert ConfidenceLoss()([detections(*one) for one in found]).tolist() == pytest.approx(
        expected, rel=1e-9, abs=1e-12
    )


@given(images, st.integers(0, 5))
def test_an_image_scores_the_same_to_the_bit_whatever_its_company(found, split):
    given_images = [detections(*one) for one in found]
    loss = ConfidenceLoss()
    parts = torch.cat([loss(given_images[:split]), loss(given_images[split:])])
    assert torch.equal(loss(given_images), parts)
    assert loss(given_images[::-1]).tolist() == loss(given_images).tolist()[::-1]


def test_so_do_many_images():
    generator = torch.Generator().manual_seed(0)
    found = [detections(*((x.item(), 0) for x in _uniform(generator))) for _ in range(400)]
    loss = ConfidenceLoss()
    assert torch.equal(loss(found), torch.cat([loss([one]) for one in found]))
    assert torch.equal(loss(found), torch.cat([loss(found[:37]), loss(found[37:])]))


def test_q_decides_the_order():
    unsure, crowded = [0.3], [0.98] * 3
    by_q = {q: scores(ConfidenceLoss(q=q), unsure, crowded) for q in (0.5, 9)}
    assert by_q[0.5][0] < by_q[0.5][1]
    assert by_q[9][0] > by_q[9][1]


def test_b_decides_the_order():
    unsure, crowded = [0.3], [0.98] * 3
    assert scores(ConfidenceLoss(b=-0.5), unsure, crowded)[1] < 0 < scores(ConfidenceLoss(b=-0.5), unsure, crowded)[0]
    assert scores(ConfidenceLoss(b=2), unsure, crowded)[0] < scores(ConfidenceLoss(b=2), unsure, crowded)[1]


def test_an_empty_image_is_not_hard():
    assert scores(ConfidenceLoss(), [], [0.9], [0.04]) == [
        0,
        pytest.approx(reference.confidence_loss(0.9), rel=1e-6),
        0,
    ]
    assert ConfidenceLoss()([]).shape == (0,)
    assert ConfidenceLoss(per_class=True)([]).shape == (0,)


def test_low_confidences_count():
    assert scores(ConfidenceLoss(), [0.3, 0.3])[0] > scores(ConfidenceLoss(), [0.9, 0.9])[0]
    assert scores(ConfidenceLoss(min_confidence=0.5), [0.3, 0.3]) == [0]


def test_what_is_not_a_number_does_not_count():
    assert scores(ConfidenceLoss(min_confidence=0), [math.nan, 0.9]) == scores(ConfidenceLoss(), [0.9])


def test_small_boxes_do_not_count_if_asked():
    large, small = detections((0.5, 0), side=20), detections((0.5, 0), side=19)
    loss = ConfidenceLoss(min_side=20)([large, small, large.scaled(1, 0.5)])
    assert (loss > 0).tolist() == [True, False, False]


def test_only_the_classes_that_are_asked_for_count():
    found = [detections((0.5, 0)), detections((0.5, 2)), detections((0.5, 0), (0.5, 1))]
    assert (ConfidenceLoss(classes=(1, 2))(found) > 0).tolist() == [False, True, True]


# ----- by class -------------------------------------------------------------------------------------------------


@given(images)
def test_each_class_counts_as_much_as_the_others(found):
    given_images = [detections(*one) for one in found]
    sums = ConfidenceLoss().by_class(given_images, 5)
    assert sums.sum(1).tolist() == pytest.approx(ConfidenceLoss()(given_images).tolist(), rel=1e-9)
    expected = reference.normalized_mean(sums.tolist())
    assert normalized_mean(sums).tolist() == pytest.approx(expected, rel=1e-6, abs=1e-7)
    loss = ConfidenceLoss(per_class=True)(given_images)
    assert loss.tolist() == pytest.approx(expected, rel=1e-6, abs=1e-7)
    assert loss.isfinite().all()


def test_a_class_without_variance_says_nothing():
    same = [detections((0.1, 0), (x, 1)) for x in (0.3, 0.5, 0.9)]
    without = [detections((x, 1)) for x in (0.3, 0.5, 0.9)]
    loss = ConfidenceLoss(per_class=True)
    assert torch.equal(loss(same), loss(without))
    assert loss([detections((0.1, 0))] * 3).tolist() == [0, 0, 0]
    assert loss([detections((0.1, 0))]).tolist() == [0]


def test_a_frequent_class_does_not_drown_another():
    found = [detections(*[(0.4, 0)] * cars, (people, 1)) for cars, people in ((20, 0.99), (22, 0.99), (21, 0.4))]
    assert ConfidenceLoss()(found).argmax() == 1
    assert ConfidenceLoss(per_class=True)(found).argmax() == 2


def test_a_wrong_label_is_told():
    with pytest.raises(ValueError, match=r"labels must be in \[0, 2\), got 3"):
        ConfidenceLoss().by_class([detections((0.5, 3))], 2)
    with pytest.raises(ValueError, match="got -1"):
        ConfidenceLoss(per_class=True)([detections((0.5, -1), (0.5, 1))])


@pytest.mark.parametrize(
    "wrong",
    [
        {"q": -1.0},
        {"q": math.nan},
        {"b": math.inf},
        {"log_base": 1.0},
        {"log_offset": -1e-5},
        {"min_confidence": 1.5},
        {"min_side": -1.0},
        {"classes": ()},
        {"classes": (0, -1)},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}.* got"):
        ConfidenceLoss(**wrong)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_says_the_same():
    generator = torch.Generator().manual_seed(0)
    found = [detections(*((x.item(), 0) for x in _uniform(generator))) for _ in range(50)]
    there = ConfidenceLoss()([one.to("cuda") for one in found])
    assert there.device.type == "cuda"
    assert torch.allclose(there.cpu(), ConfidenceLoss()(found), rtol=1e-12)


def _uniform(generator: torch.Generator) -> Tensor:
    return torch.rand(int(torch.randint(0, 9, (1,), generator=generator)), generator=generator)
