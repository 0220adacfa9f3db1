"""Images with boxes written for trainers and labelling tools, and the manifest of all frames."""

from tamis.data.export.labelled import Exported
from tamis.data.export.manifest import write_manifest
from tamis.data.export.names import plain_class_names, safe_name, safe_names
from tamis.data.export.write import FORMATS, Format, Written, write_data_set

__all__ = [
    "FORMATS", "Exported", "Format", "Written", "plain_class_names", "safe_name", "safe_names", "write_data_set",
    "write_manifest",
]  # fmt: skip
