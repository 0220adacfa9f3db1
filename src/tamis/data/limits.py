"""How much a file may unpack to, and how many classes its labels may name: what no honest file comes near."""

from pathlib import Path

LIMIT = 4 << 30  # bytes of images held in memory
# Images hardly compress; uncompressed ones (BMP, idx) do by 5 to 10. A bomb does by a thousand and more.
FREE, RATIO = 32 << 20, 20
MOST_CLASSES = 1 << 20


def allowance(*paths: Path) -> int:
    """The most bytes that compressed files may unpack to: 20 times their size, and 32 MiB anyway."""
    return max(FREE, RATIO * sum(path.stat().st_size for path in paths))


def numbered_classes(labels: set[int], where: str) -> tuple[str, ...]:
    """Names of classes that are numbers: "0", "1", ... to the highest label.

    Raises:
        ValueError: a label of a million or more: a name for each number up to it would fill the memory.
    """
    highest = max(labels, default=0)
    if highest >= MOST_CLASSES:
        raise ValueError(f"label must be a class number below {MOST_CLASSES}, got {highest} {where}; number from 0")
    return tuple(map(str, range(1 + highest)))
