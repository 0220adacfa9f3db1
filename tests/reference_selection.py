"""Selection in plain Python, from section 2.1 of the paper and readings 2 and 3."""

from collections.abc import Sequence


def slow_hardest(scores: Sequence[float], count: int) -> list[int]:
    """Take the highest that is left, the earlier of equal ones, again and again."""
    left = list(range(len(scores)))
    taken = []
    while left and len(taken) < count:
        best = left[0]
        for place in left:
            if scores[place] > scores[best]:
                best = place
        left.remove(best)
        taken.append(best)
    return taken


def slow_apart(
    scores: Sequence[float], count: int, cameras: Sequence[int], seconds: Sequence[float], gap: float
) -> list[int]:
    """As `slow_hardest`, but what is too close to a taken one waits until nothing else is left."""
    first, waiting = [], []
    for place in slow_hardest(scores, len(scores)):
        close = [
            other for other in first if cameras[other] == cameras[place] and abs(seconds[other] - seconds[place]) < gap
        ]
        (waiting if close else first).append(place)
    return (first + waiting)[:count] if len(first) < count else first[:count]
