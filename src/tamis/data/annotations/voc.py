"""Pascal VOC: an XML file for each image, with its size and a bndbox for each object (VOC2012 devkit, section 6)."""

from pathlib import Path
from xml.etree import ElementTree

from tamis.data.annotations.columns import Annotations, Collected, shown
from tamis.data.annotations.reading import files_of, joined, read_each, read_xml
from tamis.data.annotations.yolo import read_names
from tamis.data.decode import inside

LIMIT = 1 << 20
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(path: Path, root: Path) -> Annotations:
    """Read a folder of VOC files. Corners are taken as they stand: 0 to width and 0 to height are within the image.

    Class names are those of a classes.txt or data.yaml, as for YOLO; without one, all that occur.

    Args:
        path: the folder of the XML files.
        root: the folder of the images, at any depth.

    Raises:
        Unfit: the file of the class names cannot be read.
        ValueError: no XML file has an image of its name.
    """
    names = list(files_of(path, ".xml"))
    found = Collected(4)
    given = read_names(path)
    classes = {name: label for label, name in enumerate(given)}

    def read(name: str, image: int, size: tuple[int, int]) -> None:
        tree = read_xml(path / name, LIMIT, "annotation", "VOC")
        _check_head(found, tree, name, size)
        for row, each in enumerate(tree.findall("object")):
            _object(found, each, f"{shown(name)}: object {row + 1}", image, size, classes, bool(given), row)

    bare = "no XML file; one without objects says that there is nothing"
    images, sizes = read_each(found, root, names, joined(root, names), read, bare)
    return found.done(images, sizes, tuple(classes))


def _check_head(found: Collected, tree: ElementTree.Element, name: str, size: tuple[int, int]) -> None:
    file = (tree.findtext("filename") or "").strip()
    if file:
        try:
            inside(file, "")
        except ValueError:
            found.fault("unsafe_name", shown(name), f"file name {file!a:.200} leads out of the folder")
    said = tuple((tree.findtext(f"size/{side}") or "").strip() for side in ("width", "height"))
    if not all(said):
        found.fault("wrong_size", shown(name), "no size")
    elif all(size) and said != (str(size[0]), str(size[1])):
        found.fault(
            "wrong_size", shown(name), f"said to be {said[0]:.20} x {said[1]:.20}, the file is {size[0]} x {size[1]}"
        )


def _object(
    found: Collected, each: ElementTree.Element, where: str, image: int, size: tuple[int, int],
    classes: dict[str, int], closed: bool, row: int,
) -> None:  # fmt: skip
    label = (each.findtext("name") or "").strip()
    if not label or (closed and label not in classes):
        found.fault("wrong_class", where, f"name {label!a:.100} is no class" if label else "no name")
        return
    if each.find("bndbox") is None:
        found.fault("no_box", where, "no bndbox")
        return
    texts = [(each.findtext(f"bndbox/{corner}") or "").strip() for corner in _CORNERS]
    try:
        corners = [float(text) for text in texts]
    except ValueError:
        found.fault("no_box", where, f"bndbox {texts!a:.100} is not four numbers")
        return
    number = classes.setdefault(label, len(classes))
    if all(size):
        found.add(image, number, corners, where, row)
