"""Classifiers and counters: small ones of our own, published ones, and others by name."""

from tamis.models.build import build_model
from tamis.models.build_counter import build_counter
from tamis.models.crowd import MCNN, CSRNet, CSRNetLite, MCNNLight
from tamis.models.small import SmallNet
from tamis.models.weights import load_weights
from tamis.models.wide_resnet import WideResNet

__all__ = [
    "MCNN",
    "CSRNet",
    "CSRNetLite",
    "MCNNLight",
    "SmallNet",
    "WideResNet",
    "build_counter",
    "build_model",
    "load_weights",
]
