"""Finds pictures that look the same, in far less than n^2 steps."""

from itertools import combinations, pairwise

import numpy as np

from tamis.data.inspection.signatures import BRIGHTNESS

# Measured on CIFAR-10 and Fashion-MNIST (docs/check.md): JPEG quality 50 changes at most 5 signs and leaves a
# residual of 1.3 grey levels in colour pictures; look-alikes of one product begin at about 3.
SIGNS = 5
RESIDUAL = 3.0
CORRELATION = 0.98
COLOUR = 6.0
PLAIN = 4.0  # grey levels of contrast under which a picture has nothing to be recognised by

_BLOCKS, _EQUAL = 8, 3  # bytes of a hash: 5 changed signs leave at least three of them untouched
_SHIFTS = np.array([1 << 16, 1 << 8, 1], np.uint32)
_REACH = 256
_PIECE = 1 << 13


def near_pairs(hashes: np.ndarray, small: np.ndarray, contrast: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of pictures that are near duplicates.

    Near are two pictures of which (1) at most 5 of 63 signs differ, and of whose 8 x 8 thumbnails (2) the brightness
    correlates with at least 0.98, (3) what is left of the difference, once brightness and contrast are fitted, is at
    most 3 of 255 grey levels, and (4) colour differs by at most 6 (root of the mean square, both). Pictures with a
    contrast under 4 grey levels are near to none.

    (1) is looked up: two hashes within 5 signs agree in at least three of eight bytes, so pictures are sorted by every
    three bytes and compared within equal ones only. This finds all pairs, unless more than 256 pictures agree in three
    bytes: then each is compared with the next 256 of these, in the order of their hashes.

    Args:
        hashes: uint64 (n,).
        small: uint8 (n, 8, 8, 3).
        contrast: float32 (n,), grey levels.

    Returns:
        int64 (m,) and int64 (m,): first and second picture of each pair, the first one smaller; sorted.
    """
    places = np.flatnonzero(contrast >= PLAIN)
    first, second = _near_hashes(hashes[places])
    first, second = places[first], places[second]
    near = np.zeros(len(first), bool)
    for start in range(0, len(first), _PIECE):
        piece = slice(start, start + _PIECE)
        near[piece] = _same_picture(small[first[piece]], small[second[piece]])
    first, second = first[near], second[near]
    order = np.lexsort((second, first))
    return first[order], second[order]


def _near_hashes(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (first < second) of which at most 5 signs differ, each once."""
    sorted_once = np.argsort(hashes, kind="stable")  # so that among pictures of one key the most alike lie together
    hashes = hashes[sorted_once]
    blocks = hashes.view(np.uint8).reshape(-1, _BLOCKS)
    found = [np.empty((2, 0), np.int64)]
    for chosen in combinations(range(_BLOCKS), _EQUAL):
        key = blocks[:, chosen].astype(np.uint32) @ _SHIFTS
        order = np.argsort(key, kind="stable")
        key = key[order]
        left = np.arange(len(key))
        for step in range(1, _REACH + 1):
            left = left[: np.searchsorted(left, len(key) - step)]
            left = left[key[left] == key[left + step]]
            if not len(left):
                break
            one, two = order[left], order[left + step]
            close = np.bitwise_count(hashes[one] ^ hashes[two]) <= SIGNS
            one, two = one[close], two[close]
            # A pair is taken where its first three equal bytes are compared, so that it is found once.
            before = [block for block in range(chosen[-1]) if block not in chosen]
            new = (blocks[one][:, before] != blocks[two][:, before]).all(axis=1)
            found.append(np.stack([one[new], two[new]]))
    pairs = np.sort(sorted_once[np.concatenate(found, axis=1)], axis=0)
    return pairs[0], pairs[1]


def _same_picture(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Compare thumbnails uint8 (b, 8, 8, 3) pair by pair: bool (b,)."""
    one, two = (each.astype(np.float32).reshape(len(each), -1, 3) for each in (one, two))
    bright = [each @ BRIGHTNESS for each in (one, two)]
    colour = (one - bright[0][..., None]) - (two - bright[1][..., None])
    first, second = (each - each.mean(axis=1, keepdims=True) for each in bright)
    spread = np.stack([first.std(axis=1), second.std(axis=1)])
    correlation = (first * second).mean(axis=1) / np.maximum(spread.prod(axis=0), 1e-6)
    residual = spread.min(axis=0) * np.sqrt(np.maximum(1 - correlation**2, 0))
    off = np.sqrt((colour**2).mean(axis=(1, 2)))
    return (correlation >= CORRELATION) & (residual <= RESIDUAL) & (off <= COLOUR)


def stars(first: np.ndarray, second: np.ndarray, count: int) -> np.ndarray:
    """Group pictures around the first one of each group, to which all the others are near.

    Chains are not followed: in a slow film every frame is near the next, and yet the last is another picture.

    Args:
        first: int64 (m,), from `near_pairs`.
        second: int64 (m,).
        count: n.

    Returns:
        int64 (n,), the first picture of the group of each; itself where it is near to none before it.
    """
    leader = np.arange(count)
    starts = np.flatnonzero(np.diff(first, prepend=-1)).tolist()
    for begin, end in pairwise([*starts, len(first)]):
        place = first[begin]
        if leader[place] == place:
            others = second[begin:end]
            leader[others[leader[others] == others]] = place
    return leader
