"""Fisher's randomisation test, written out from its definition: every combination of signs, one by one."""

from itertools import product


def sign_flips(differences: list[float]) -> float:
    """Share of the combinations of signs whose sum is as far from 0 as the measured one, or farther."""
    measured = abs(sum(differences))
    reached = total = 0
    for signs in product((1, -1), repeat=len(differences)):
        total += 1
        flipped = 0.0
        for sign, difference in zip(signs, differences, strict=True):
            flipped += sign * difference
        reached += abs(flipped) >= measured - 1e-9 * max(1.0, measured)
    return reached / total
