"""KITTI: kitti/label_2 and kitti/image_2 (the object development kit's readme, "Data Format Description")."""

from collections.abc import Iterator, Sequence

from tamis.data.export.labelled import About, Labelled, pixels, stem_lists
from tamis.data.export.names import words

FOLDER = "kitti/image_2"
"""Where the images are, once more under their names: KITTI readers take two folders side by side."""

# Truncation, occlusion and angle, then sizes, place and angle in the room: the readme's values for "not known".
_BEFORE, _AFTER = "-1 -1 -10", "-1 -1 -1 -1000 -1000 -1000 -10"


def kitti_files(images: Sequence[Labelled], about: About) -> Iterator[tuple[str, str]]:
    """A label file for each image, 15 columns a line; spaces in class names become _, kitti/classes.txt lists them."""
    names = words(about.class_names)
    for image in images:
        lines = (
            f"{names[label]} {_BEFORE} {' '.join(map(pixels, corners))} {_AFTER}\n"
            for corners, label in zip(image.corners, image.labels, strict=True)
        )
        yield f"kitti/label_2/{image.stem}.txt", "".join(lines)
    yield from stem_lists("kitti/ImageSets", images)
    yield "kitti/classes.txt", "".join(f"{name}\n" for name in names)
