import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tamis.data.density import inside
from tamis.data.synthetic import FEWEST, MOST, synthetic_crowd, write_crowd


def pixels(seed: int, index: int, size: int = 256) -> np.ndarray:
    return np.asarray(synthetic_crowd(seed, index, size)[0])


def test_a_crowd_is_a_pure_function_of_seed_and_index() -> None:
    first, heads = synthetic_crowd(3, 7)
    synthetic_crowd(3, 8)
    again, others = synthetic_crowd(3, 7)
    assert first.tobytes() == again.tobytes()
    assert np.array_equal(heads, others)


def test_seeds_and_indices_make_other_crowds() -> None:
    assert len({synthetic_crowd(seed, index)[0].tobytes() for seed in (0, 1) for index in (0, 1)}) == 4


@pytest.mark.parametrize("size", [64, 256, 300])
def test_heads_lie_in_the_picture_from_far_to_near(size: int) -> None:
    for index in range(6):
        picture, heads = synthetic_crowd(0, index, size)
        assert (picture.mode, picture.size) == ("RGB", (size, size))
        assert heads.dtype == np.float64
        assert heads.shape[1] == 2
        assert inside(heads, size, size).all()
        assert (np.diff(heads[:, 1]) >= 0).all()


def test_counts_are_spread_over_the_range() -> None:
    counts = np.array([len(synthetic_crowd(0, index)[1]) for index in range(40)])
    assert counts.min() < 60
    assert counts.max() > 240
    assert counts.min() >= 0.9 * FEWEST
    assert counts.max() <= MOST
    assert 40 < counts.std() < 110


def test_heads_stand_in_clusters() -> None:
    """Their number varies more from place to place than that of heads spread evenly over each height."""
    spread = np.random.default_rng(0)
    ratios = []
    for index in range(20):
        heads = synthetic_crowd(0, index)[1]
        even = np.stack([spread.uniform(0, 256, len(heads)), heads[:, 1]], 1)
        ratios.append(variation(heads) / variation(even))
    assert np.median(ratios) > 1.3


def variation(dots: np.ndarray) -> float:
    return float(np.histogram2d(*dots.T, bins=8, range=[(0, 256)] * 2)[0].var())


def test_heads_differ_from_the_ground_but_not_by_one_colour() -> None:
    """What is at a head varies within and between pictures: no colour says where heads are."""
    at_heads = []
    for index in range(8):
        picture, heads = synthetic_crowd(0, index)
        array = np.asarray(picture, np.float64)
        at_heads.append(array[heads[:, 1].astype(int), heads[:, 0].astype(int)])
    assert np.concatenate(at_heads).std(0).min() > 25


def test_brightness_does_not_give_the_count_away() -> None:
    crowds = [synthetic_crowd(0, index) for index in range(40)]
    counts = [len(heads) for _, heads in crowds]
    for channel in range(3):
        means = [np.asarray(picture)[..., channel].mean() for picture, _ in crowds]
        assert abs(np.corrcoef(means, counts)[0, 1]) < 0.5


def test_too_small_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="size must be at least 64 pixels, got 63"):
        synthetic_crowd(0, 0, 63)


def test_written_crowd_is_two_parts_with_tables(tmp_path: Path) -> None:
    write_crowd(tmp_path / "new" / "crowd", train=3, test=2, seed=5, size=96)
    for part, count in (("train", 3), ("test", 2)):
        root = tmp_path / "new" / "crowd" / part
        assert sorted(path.name for path in root.iterdir()) == ["images", "points.csv"]
        names = sorted(path.name for path in (root / "images").iterdir())
        assert names == [f"{number:04}.jpg" for number in range(count)]
        with (root / "points.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert {row["image"] for row in rows} == set(names)
        points = np.array([(row["x"], row["y"]) for row in rows], np.float64)
        assert inside(points, 96, 96).all()
        with Image.open(root / "images" / names[0]) as image:
            assert (image.mode, image.size) == ("RGB", (96, 96))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["crowd"]
    _, heads = synthetic_crowd(5, 0, 96)
    with (tmp_path / "new" / "crowd" / "train" / "points.csv").open() as file:
        written = [(float(row["x"]), float(row["y"])) for row in csv.DictReader(file) if row["image"] == "0000.jpg"]
    np.testing.assert_allclose(written, heads, atol=0.006)


def test_test_part_depends_on_the_seed_alone(tmp_path: Path) -> None:
    for name, train, seed in (("a", 1, 0), ("b", 2, 0), ("c", 1, 1)):
        write_crowd(tmp_path / name, train=train, test=1, seed=seed, size=64)
    first, other, third = ((tmp_path / name / "test/images/0000.jpg").read_bytes() for name in "abc")
    assert first == other != third
    assert first != (tmp_path / "a/train/images/0000.jpg").read_bytes()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="folder must be a new one"):
        write_crowd(tmp_path, train=1, test=1)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="size must be at least 64"):
        write_crowd(tmp_path / "crowd", train=1, test=1, size=8)
    assert not list(tmp_path.iterdir())
