"""CVAT for images 1.1: cvat.xml (docs.cvat.ai, "XML annotation format")."""

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element, SubElement

from tamis.data.export.labelled import About, Labelled, pixels
from tamis.data.export.voc import xml_text


def cvat_files(images: Sequence[Labelled], about: About) -> Iterator[tuple[str, str]]:
    """One document: the labels, and each image with its boxes, by the name of its file."""
    tree = Element("annotations")
    SubElement(tree, "version").text = "1.1"
    task = SubElement(SubElement(tree, "meta"), "task")
    SubElement(task, "name").text = about.description
    SubElement(task, "size").text = str(len(images))
    SubElement(task, "mode").text = "annotation"
    labels = SubElement(task, "labels")
    for name in about.class_names:
        label = SubElement(labels, "label")
        SubElement(label, "name").text = name
        SubElement(label, "attributes")
    source = "auto" if about.predicted else "manual"
    for number, image in enumerate(images):
        size = {"width": str(image.width), "height": str(image.height)}
        entry = SubElement(tree, "image", {"id": str(number), "name": image.name, **size})
        for corners, label in zip(image.corners, image.labels, strict=True):
            sides = dict(zip(("xtl", "ytl", "xbr", "ybr"), map(pixels, corners), strict=True))
            start = {"label": about.class_names[label], "source": source, "occluded": "0"}
            SubElement(entry, "box", {**start, **sides, "z_order": "0"})
    yield "cvat.xml", xml_text(tree)
