"""Classifiers, counters and detectors: small ones of our own, published ones, and others by name."""

from tamis.models.build import build_model
from tamis.models.build_counter import build_counter
from tamis.models.build_detector import build_detector
from tamis.models.class_names import COCO, check_same_classes
from tamis.models.crowd import MCNN, CSRNet, CSRNetLite, MCNNLight
from tamis.models.detector_flops import flops
from tamis.models.detector_weights import save_detector
from tamis.models.export_onnx import export_onnx
from tamis.models.image_losses import image_losses
from tamis.models.mapped_detector import MappedDetector
from tamis.models.module_detector import ModuleDetector
from tamis.models.new_head import same_classes
from tamis.models.onnx_detector import OnnxDetector
from tamis.models.open_detector import open_detector
from tamis.models.small import SmallNet
from tamis.models.weights import load_weights
from tamis.models.wide_resnet import WideResNet

__all__ = [
    "COCO",
    "MCNN",
    "CSRNet",
    "CSRNetLite",
    "MCNNLight",
    "MappedDetector",
    "ModuleDetector",
    "OnnxDetector",
    "SmallNet",
    "WideResNet",
    "build_counter",
    "build_detector",
    "build_model",
    "check_same_classes",
    "export_onnx",
    "flops",
    "image_losses",
    "load_weights",
    "open_detector",
    "same_classes",
    "save_detector",
]
