"""Label noise against its definition, and the join with human labels."""

import dataclasses
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tamis.data import Noise, asymmetric, from_cifar10n, permute, random_labels, symmetric
from tamis.data.cifar import CIFAR10_CLASSES

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
LABELS = torch.arange(10).repeat(2000)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_symmetric_draws_from_all_classes():
    noise = symmetric(LABELS, 0.4, 10, generator())
    assert abs(float(noise.changed.double().mean()) - 0.36) < 0.015  # a tenth of the drawn labels is the true one
    shares = torch.bincount(noise.labels[LABELS == 3], minlength=10).double() / 2000
    assert abs(float(shares[3]) - 0.64) < 0.04
    assert all(abs(float(shares[n]) - 0.04) < 0.02 for n in range(10) if n != 3)
    assert noise.clean is LABELS
    assert noise.summary() == {"kind": "symmetric", "ratio": 0.4, "changed": int(noise.changed.sum())}


@pytest.mark.parametrize("classes", [1, 2, 10])
def test_symmetric_limits(classes):
    labels = torch.arange(200) % classes
    assert torch.equal(symmetric(labels, 0.0, classes, generator()).labels, labels)
    whole = symmetric(labels, 1.0, classes, generator())
    assert whole.labels.max() < classes
    assert abs(float(whole.changed.double().mean()) - (1 - 1 / classes)) < 0.15


def test_permute_moves_exactly_the_first():
    noise = permute(LABELS, 0.33335, generator())
    count = int(0.33335 * len(LABELS))
    assert torch.equal(noise.labels[count:], LABELS[count:])
    assert torch.equal(noise.labels[:count].sort().values, LABELS[:count].sort().values)
    assert abs(int(noise.changed.sum()) / count - 0.9) < 0.02


def test_permute_is_the_published_loop():
    # The published code gives sample i (i < count) the image of sample order[i]; seen from the images, the labels move.
    labels = torch.tensor([0, 1, 2, 3, 4, 5])
    order = torch.randperm(4, generator=generator(7))
    want = labels.clone()
    for place, origin in enumerate(order.tolist()):
        want[place] = labels[origin]
    assert torch.equal(permute(labels, 0.7, generator(7)).labels, want)


def test_asymmetric_of_cifar10_in_any_order():
    names = tuple(reversed(CIFAR10_CLASSES))
    noise = asymmetric(LABELS, 0.4, names, generator())
    pairs = {
        (names[a], names[b])
        for a, b in zip(LABELS[noise.changed].tolist(), noise.labels[noise.changed].tolist(), strict=True)
    }
    assert pairs == {("truck", "automobile"), ("bird", "airplane"), ("deer", "horse"), ("cat", "dog"), ("dog", "cat")}
    assert abs(float(noise.changed.double().mean()) - 0.2) < 0.01


def test_asymmetric_of_other_classes():
    labels = torch.arange(3).repeat(50)
    assert torch.equal(asymmetric(labels, 1.0, "abc", generator()).labels, (labels + 1) % 3)
    chosen = asymmetric(labels, 1.0, "abc", generator(), {0: 2}).labels
    assert torch.equal(chosen, torch.tensor([2, 1, 2]).repeat(50))
    assert torch.equal(
        asymmetric(torch.zeros(4, dtype=torch.int64), 1.0, "a", generator()).labels, torch.zeros(4).long()
    )
    with pytest.raises(ValueError, match=r"mapping must be between classes in \[0, 3\), got 0 to 3"):
        asymmetric(labels, 1.0, "abc", generator(), {0: 3})


def test_random_labels():
    noise = random_labels(LABELS, 10, generator())
    assert (torch.bincount(noise.labels, minlength=10) - 2000).abs().max() < 250
    assert abs(float((noise.labels == LABELS).double().mean()) - 0.1) < 0.01
    assert (noise.kind, noise.ratio) == ("random", 1.0)


MAKERS = {
    "symmetric": lambda ratio, g: symmetric(LABELS, ratio, 10, g),
    "permute": lambda ratio, g: permute(LABELS, ratio, g),
    "asymmetric": lambda ratio, g: asymmetric(LABELS, ratio, CIFAR10_CLASSES, g),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_noise_is_pure_and_checks_its_ratio(kind):
    before = LABELS.clone()
    state = torch.get_rng_state()
    a, b, c = (MAKERS[kind](0.5, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(a.labels, b.labels)
    assert not torch.equal(a.labels, c.labels)
    assert torch.equal(LABELS, before)
    assert torch.equal(state, torch.get_rng_state())
    assert a.kind == kind
    for ratio in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"ratio must be in \[0, 1\]"):
            MAKERS[kind](ratio, generator())


def test_noise_of_a_subset():
    noise = symmetric(LABELS, 0.4, 10, generator())
    index = torch.tensor([7, 3])
    part = noise.select(index)
    assert torch.equal(part.labels, noise.labels[index])
    assert torch.equal(part.changed, noise.changed[index])


@dataclasses.dataclass(frozen=True)
class Names:
    labels: torch.Tensor
    class_names: tuple[str, ...]
    keys: list[str]


def human(path: Path, **changes) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    clean = random.permutation(np.arange(10).repeat(3))
    worse = random.integers(0, 10, 30)
    arrays = {"clean_label": clean, "worse_label": worse, "aggre_label": clean} | changes
    np.savez(path, **arrays)
    return clean, worse


@pytest.mark.parametrize("names", [CIFAR10_CLASSES, tuple(reversed(CIFAR10_CLASSES))])
@pytest.mark.parametrize("name", ["worse", "worse_label"])
def test_human_labels_are_joined_by_the_order_in_the_class(tmp_path, names, name):
    clean, worse = human(tmp_path / "h.npz")
    samples, seen = [], dict.fromkeys(range(10), 0)
    for official in clean.tolist():
        samples.append((f"{CIFAR10_CLASSES[official]}/{seen[official]:04d}.jpg", official))
        seen[official] += 1
    wanted = {key: CIFAR10_CLASSES[label] for (key, _), label in zip(samples, worse.tolist(), strict=True)}
    shuffled = [samples[n] for n in np.random.default_rng(1).permutation(30)]
    labels = torch.tensor([names.index(CIFAR10_CLASSES[official]) for _, official in shuffled])
    source = Names(labels, names, [key for key, _ in shuffled])
    noise = from_cifar10n(tmp_path / "h.npz", name, source)
    assert {key: names[label] for key, label in zip(source.keys, noise.labels.tolist(), strict=True)} == wanted
    assert noise.kind == "cifar10n-worse_label"
    assert noise.ratio == pytest.approx((clean != worse).mean())


def test_wrong_human_labels(tmp_path):
    path = tmp_path / "h.npz"
    clean, _ = human(path)
    labels = torch.from_numpy(clean)
    source = Names(labels, CIFAR10_CLASSES, [f"{n:02d}" for n in range(30)])
    with pytest.raises(ValueError, match=r"name must be one of aggre_label, .*, got 'best'"):
        from_cifar10n(path, "best", source)
    with pytest.raises(ValueError, match="source must have CIFAR-10's classes"):
        from_cifar10n(path, "worse", dataclasses.replace(source, class_names=tuple("abcdefghij")))
    with pytest.raises(ValueError, match=r"source must have .* samples a class, as CIFAR-10N has"):
        from_cifar10n(path, "worse", Names(labels[1:], CIFAR10_CLASSES, source.keys[1:]))
    for changes in ({"worse_label": np.array([None])}, {"worse_label": np.zeros(30)}, {"worse_label": np.full(30, 10)}):
        human(path, **changes)
        with pytest.raises(ValueError, match=r"in 'h.npz'"):
            from_cifar10n(path, "worse", source)
    for content in (b"", b"\x80\x02}q\x00.", path.read_bytes()[:300]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"file must be an .npz archive of plain arrays .* is not opened"):
            from_cifar10n(path, "worse", source)
    with pytest.raises(ValueError, match=r"file must be an .npz archive"):
        from_cifar10n(tmp_path / "no.npz", "worse", source)


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "cifar10n").exists(), reason="needs ../shared/data/cifar10n and cifar10_jpeg.tar.xz")
def test_real_human_labels():
    with tarfile.open(SHARED / "cifar10_jpeg.tar.xz") as archive:
        keys = sorted(name[2:] for name in archive.getnames() if name.startswith("./train/") and name.endswith(".jpg"))
    labels = torch.tensor([CIFAR10_CLASSES.index(key.split("/")[1]) for key in keys])
    source = Names(labels, CIFAR10_CLASSES, keys)
    wrong = {"aggre": 0.0903, "random1": 0.172, "random_label2": 0.181, "random3": 0.176, "worse": 0.4021}
    for name, share in wrong.items():
        name = name.replace("random", "random_label") if "label" not in name else name
        noise = from_cifar10n(SHARED / "cifar10n" / "CIFAR-10_human.npz", name, source)
        assert isinstance(noise, Noise)
        assert noise.ratio == pytest.approx(share, abs=1e-3)
