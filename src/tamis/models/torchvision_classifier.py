"""Torchvision's classifiers, fitted to the classes, channels and size of the data."""

from typing import Any

import torchvision
from torch import nn

SMALL_IMAGE = 64  # sides up to this get a stem for small images


def names() -> list[str]:
    """The classifiers that the installed torchvision knows."""
    return torchvision.models.list_models(module=torchvision.models)


def torchvision_classifier(name: str, *, classes: int, channels: int, size: int) -> nn.Module:
    """A classifier of torchvision with a fresh start, ending in `classes` logits.

    Up to 64 pixels ResNets (also ResNeXt and wide ResNets) start with a 3x3 convolution of stride 1 and no
    pool, as He et al. 2016 (section 4.2) have it for CIFAR, and VGGs pool only while there is something to
    pool and end in one linear layer on a 1x1 map. The other architectures stay as they are and may be unable
    to take small images.

    Args:
        name: as in torchvision, e.g. `resnet18`.
        classes: number of outputs.
        channels: channels of the images.
        size: side of the images in pixels.

    Raises:
        ValueError: a vision transformer whose patches do not tile the image.
    """
    options: dict[str, Any] = {"num_classes": classes}
    if name in ("inception_v3", "googlenet"):
        options |= {"aux_logits": False, "init_weights": True}
    if name.startswith("vit_"):
        patch = int(name.rpartition("_")[2])
        if size % patch:
            raise ValueError(f"size must be a multiple of {patch} for {name}, got {size!r}; resize the images")
        options["image_size"] = size
    model = torchvision.models.get_model(name, weights=None, **options)
    if size <= SMALL_IMAGE and isinstance(model, torchvision.models.ResNet):
        _small_resnet(model)
    if size <= SMALL_IMAGE and isinstance(model, torchvision.models.VGG):
        _small_vgg(model, classes, size)
    if channels != 3:
        _take_channels(model, channels)
    return model


def _small_resnet(model: torchvision.models.ResNet) -> None:
    model.conv1 = nn.Conv2d(3, model.conv1.out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision starts it
    model.set_submodule("maxpool", nn.Identity())


def _small_vgg(model: torchvision.models.VGG, classes: int, size: int) -> None:
    side, width = size, 0
    for path, layer in list(model.features.named_children()):
        if isinstance(layer, nn.Conv2d):
            width = layer.out_channels
        elif isinstance(layer, nn.MaxPool2d):
            if side < 2:
                model.features.set_submodule(path, nn.Identity())
            side = max(1, side // 2)
    model.avgpool = nn.AdaptiveAvgPool2d(1)
    model.set_submodule("classifier", nn.Linear(width, classes))


def _take_channels(model: nn.Module, channels: int) -> None:
    """Replace the first convolution by one for another number of channels, started like torch starts one."""
    path, old = next((path, each) for path, each in model.named_modules() if isinstance(each, nn.Conv2d))
    shape: dict[str, Any] = {"kernel_size": old.kernel_size, "stride": old.stride, "padding": old.padding}
    model.set_submodule(path, nn.Conv2d(channels, old.out_channels, **shape, bias=old.bias is not None))
