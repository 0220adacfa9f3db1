"""Which images of an annotated data set are for training, and which to judge by."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn, Protocol, Self, TypeVar, get_args

from tamis.data.annotations.columns import Problem, shown
from tamis.data.annotations.layouts import is_split
from tamis.data.annotations.reading import join_key
from tamis.data.folder import SPLIT_FOLDERS, Split, image_names

VIDEOS = (".avi", ".mp4", ".mkv", ".mov", ".webm", ".m4v")


class Annotated(Protocol):
    """Images with what is annotated in each: a frozen dataclass."""

    @property
    def names(self) -> tuple[str, ...]:
        """Relative to the root."""
        ...

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong in the data."""
        ...

    def select(self, positions: Sequence[int]) -> Self:
        """The images at these positions."""
        ...


_Annotated = TypeVar("_Annotated", bound=Annotated)


def parted(whole: _Annotated, splits: Sequence[Split | None], path: Path) -> tuple[_Annotated, _Annotated | None]:
    """The images to train on, and those to judge by or None; images of no split are among the problems.

    Args:
        whole: all images.
        splits: of each; None = of neither. That is as it should be in a folder of another split, such as test.
        path: what an error calls the data.

    Raises:
        ValueError: no image is for training.
    """
    strange = [
        name for name, split in zip(whole.names, splits, strict=True) if split is None and not is_split(top(name))
    ]
    lost = [Problem("no_split", shown(name), "neither for training nor to judge by") for name in strange]
    problems = (*whole.problems, *lost)
    whole = replace(whole, problems=problems)  # pyright: ignore[reportArgumentType]
    train, validation = (
        whole.select([place for place, split in enumerate(splits) if split == wanted]) for wanted in get_args(Split)
    )
    if not train.names:
        first = f", first: {problems[0].where}: {problems[0].detail}" if problems else ""
        raise ValueError(
            f"data must have an image with its annotation for training, got none in {str(path)!r} "
            f"({len(problems):,} problems{first}); `tamis check` lists them"
        )
    return train, validation if validation.names else None


def by_folder(names: Sequence[str]) -> list[Split | None]:
    """The split of each image by the first folder of its name; all are for training where none is called so."""
    tops = [top(name) for name in names]
    there = set(tops)
    train = set(SPLIT_FOLDERS["train"])
    if not there & train:
        return ["train"] * len(tops)
    judge_by = next((folder for folder in SPLIT_FOLDERS["validation"] if folder in there), None)
    return ["train" if each in train else "validation" if each == judge_by else None for each in tops]


def top(name: str) -> str:
    """The first folder of a name that may be a split: images/Train_data/1.jpg -> train."""
    folder, _, rest = join_key(name).partition("/")
    return folder.lower().removesuffix("_data") if rest else ""


def refuse_path(path: Path) -> NoReturn:
    """Say why a path is no folder of data, and which may have been meant."""
    if path.exists():
        if path.suffix.lower() in VIDEOS:
            raise ValueError(f"data must be a folder of images, got the video {str(path)!r}; run tamis convert first")
        raise ValueError(f"data must be a folder of images, got the file {str(path)!r}; give it as annotations")
    beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    near = get_close_matches(path.name, beside, 1)
    hint = f"did you mean {str(path.parent / near[0])!r}?" if near else "correct the path"
    raise FileNotFoundError(f"data must be a folder of images, got {str(path)!r}, which is not there; {hint}")


def refuse_video(path: Path) -> None:
    """Say what to do with a folder that holds a video and no image; nothing of any other.

    Raises:
        ValueError: it is such a folder.
    """
    video = next((each for each in sorted(path.iterdir()) if each.suffix.lower() in VIDEOS), None)
    if video is not None and next(image_names(path), None) is None:
        raise ValueError(
            f"data must be a folder of images, got {str(path)!r}, which holds the video {video.name!r}; "
            f"make images of it first: {shlex.join(['tamis', 'convert', str(path), 'OUT'])}"
        )
