"""Classifiers: small ones of our own, and others by name."""

from tamis.models.build import build_model
from tamis.models.small import SmallNet
from tamis.models.weights import load_weights
from tamis.models.wide_resnet import WideResNet

__all__ = ["SmallNet", "WideResNet", "build_model", "load_weights"]
