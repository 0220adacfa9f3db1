"""Lists of classes: the one of COCO, and whether two detectors speak of the same."""

from collections.abc import Sequence

from tamis.detections import Detector

# Before COCO's names had settled, Darknet's list called six of them motorbike, aeroplane, sofa, pottedplant,
# diningtable and tvmonitor; the positions are the same.
COCO = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow"),
    *("elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee"),
    *("skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard"),
    *("tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple"),
    *("sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch"),
    *("potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone"),
    *("microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear"),
    *("hair drier", "toothbrush"),
)


def check_same_classes(student: Detector, teacher: Detector) -> None:
    """Refuse two detectors whose labels do not mean the same.

    Raises:
        ValueError: the lists of classes differ, in names or in order; says both.
    """
    if tuple(student.class_names) != tuple(teacher.class_names):
        raise ValueError(
            f"student and teacher must have the same classes in the same order, got "
            f"{listed(student.class_names)} of the student and {listed(teacher.class_names)} of the teacher; "
            f"name the classes to keep, and map names that differ"
        )


def listed(names: Sequence[str], most: int = 100) -> str:
    """A list of names for an error, on one line."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"({', '.join(repr(name) for name in names[:most])}{more})"
