"""Train vision models on the samples that matter.

`import tamis` loads nothing else; each name below loads its module, and torch, when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# name -> module; the public library. Everything else is reached by its module.
_WHERE = {
    "Batch": "batch",
    "BoxParameters": "box_temperature",
    "DataParameters": "temperature",
    "LazySGD": "temperature",
    "Ledger": "ledger",
    "Method": "methods",
    "Moment": "moment",
    "PlannedBatchSampler": "sampler",
    "PlannedSampler": "sampler",
    "Settings": "fit",
    "Temperature": "methods",
}

__all__ = [
    "Batch",
    "BoxParameters",
    "DataParameters",
    "LazySGD",
    "Ledger",
    "Method",
    "Moment",
    "PlannedBatchSampler",
    "PlannedSampler",
    "Settings",
    "Temperature",
    "__version__",
]

if TYPE_CHECKING:
    from tamis.batch import Batch
    from tamis.box_temperature import BoxParameters
    from tamis.fit import Settings
    from tamis.ledger import Ledger
    from tamis.methods import Method, Temperature
    from tamis.moment import Moment
    from tamis.sampler import PlannedBatchSampler, PlannedSampler
    from tamis.temperature import DataParameters, LazySGD


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'tamis' has no attribute {name!r}")
    return getattr(import_module(f"tamis.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
