"""CARPK: a text file for each image with `x1 y1 x2 y2 class` a line, in pixels, and lists of the splits."""

from pathlib import Path, PurePosixPath

from tamis.data.annotations.columns import Annotations, Collected, Unfit, shown
from tamis.data.annotations.reading import files_of, joined, read_each, read_text
from tamis.data.folder import Split

LIMIT = 16 << 20
_LISTS: dict[str, Split] = {"train.txt": "train", "test.txt": "validation"}


def is_carpk(folder: Path) -> bool:
    """Whether a folder has CARPK's three: Images, Annotations with text files, ImageSets with train.txt."""
    lists = (folder / "ImageSets" / "train.txt").is_file() and (folder / "Images").is_dir()
    return lists and next((folder / "Annotations").glob("*.txt"), None) is not None


def read_carpk(path: Path, root: Path) -> Annotations:
    """Read the boxes of Annotations/*.txt; corners are taken as they stand.

    Args:
        path: the folder that holds Annotations.
        root: the folder of the images, at any depth.

    Raises:
        ValueError: no text file has an image of its name.
    """
    folder = path / "Annotations" if (path / "Annotations").is_dir() else path
    names = list(files_of(folder, ".txt"))
    found = Collected(4)

    def read(name: str, image: int, size: tuple[int, int]) -> None:
        for row, line in enumerate(read_text(folder / name, LIMIT).splitlines()):
            if cells := line.split():
                _line(found, cells, f"{shown(name)}:{row + 1}", image, row)

    bare = "no text file; an empty one says that there is nothing"
    images, sizes = read_each(found, root, names, joined(root, names), read, bare)
    return found.done(images, sizes, ())


def _line(found: Collected, cells: list[str], where: str, image: int, row: int) -> None:
    if len(cells) != 5:
        found.fault("malformed", where, f"{len(cells)} columns, not 5: x1 y1 x2 y2 class")
        return
    try:
        corners = [float(cell) for cell in cells[:4]]
    except ValueError:
        found.fault("malformed", where, f"no number: {' '.join(cells)!a:.100}")
        return
    found.add(image, 0, corners, where, row)


def carpk_splits(path: Path) -> dict[str, Split]:
    """The split of each image by its name without suffix, by ImageSets/train.txt and test.txt.

    Raises:
        ValueError: such a list is not there or cannot be read.
    """
    splits: dict[str, Split] = {}
    for name, split in _LISTS.items():
        try:
            lines = read_text(path / "ImageSets" / name, LIMIT).split()
        except Unfit as error:
            raise ValueError(f"ImageSets must hold {name}, got {error} in {str(path)!r}; add the list") from error
        splits |= {PurePosixPath(line).stem: split for line in lines}
    return splits
