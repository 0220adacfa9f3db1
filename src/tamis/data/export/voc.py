"""Pascal VOC: voc/Annotations and voc/ImageSets/Main; images stay in ../images (VOC2012 devkit, section 6)."""

from collections.abc import Iterator, Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from tamis.data.export.labelled import About, Labelled, pixels, stem_lists


def voc_files(images: Sequence[Labelled], about: About) -> Iterator[tuple[str, str]]:
    """An XML file for each image.

    Corners are fractions of pixels, 0 to width and 0 to height (VOC's own are whole numbers from 1); voc/classes.txt
    and voc/labelmap.txt (the form of CVAT and Datumaro: name, colour, parts, actions) keep the order of the classes.
    """
    for image in images:
        yield f"voc/Annotations/{image.stem}.xml", _annotation(image, about.class_names)
    yield from stem_lists("voc/ImageSets/Main", images)
    yield "voc/classes.txt", "".join(f"{name}\n" for name in about.class_names)
    yield "voc/labelmap.txt", "".join(f"{name.replace(':', '_')}:::\n" for name in about.class_names)


def _annotation(image: Labelled, class_names: Sequence[str]) -> str:
    tree = Element("annotation")
    _texts(tree, folder="../images", filename=image.name, path=f"../images/{image.name}")
    _texts(SubElement(tree, "size"), width=image.width, height=image.height, depth=3)
    _texts(tree, segmented=0)
    for corners, label in zip(image.corners, image.labels, strict=True):
        entry = SubElement(tree, "object")
        _texts(entry, name=class_names[label], pose="Unspecified", truncated=0, difficult=0)
        sides = zip(("xmin", "ymin", "xmax", "ymax"), map(pixels, corners), strict=True)
        _texts(SubElement(entry, "bndbox"), **dict(sides))
    return xml_text(tree)


def _texts(parent: Element, **texts: object) -> None:
    for tag, text in texts.items():
        SubElement(parent, tag).text = str(text)


def xml_text(tree: Element) -> str:
    """A document with a line for each element; what names hold is escaped."""
    ElementTree.indent(tree)
    return ElementTree.tostring(tree, "unicode") + "\n"
