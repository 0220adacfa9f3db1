import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tamis.models import MCNN, CSRNet, CSRNetLite, MCNNLight, build_counter
from tamis.tasks import Counting

# Parameters, stride, and how many pixels beyond itself a cell sees to each side.
KINDS = [
    ("mcnn", MCNN, 133_705, 4, 34),  # 0.13 M
    ("mcnn-light", MCNNLight, 37_657, 4, 28),
    ("csrnet", CSRNet, 16_263_489, 8, 138),  # 16.26 M
    ("csrnet-lite", CSRNetLite, 3_911_553, 4, 66),  # 15.7 MB of float32
]
# torchvision's vgg16.features: position, filters in, filters out.
VGG = [
    (0, 3, 64),
    (2, 64, 64),
    (5, 64, 128),
    (7, 128, 128),
    (10, 128, 256),
    (12, 256, 256),
    (14, 256, 256),
    (17, 256, 512),
    (19, 512, 512),
    (21, 512, 512),
]


def _equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(left, right) for left, right in pairs)


# ----- as published ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind", "parameters", "stride", "reach"), KINDS)
def test_parameters_and_stride_as_published(name, kind, parameters, stride, reach):
    with torch.device("meta"):
        model = kind()
        assert sum(value.numel() for value in model.parameters()) == parameters
        assert model.stride == stride
        for height, width in ((64, 96), (65, 71), (70, 95)):  # pooling leaves out what is over
            assert model(torch.empty(2, 3, height, width)).shape == (2, 1, height // stride, width // stride)


def test_layers_as_published():
    with torch.device("meta"):
        front, back, lite = CSRNet().frontend, CSRNet().backend, CSRNetLite()
    convolutions = {int(key.split(".")[0]): value.shape for key, value in front.state_dict().items() if "weight" in key}
    assert convolutions == {place: (outside, inside, 3, 3) for place, inside, outside in VGG}
    assert {each.dilation for each in back if isinstance(each, nn.Conv2d)} == {(2, 2)}
    assert [each.out_channels for each in back if isinstance(each, nn.Conv2d)] == [512, 512, 512, 256, 128, 64]
    assert len(lite.frontend) == 16
    kernels = [
        [each.kernel_size[0] for each in column.children() if isinstance(each, nn.Conv2d)] for column in MCNN().columns
    ]
    assert kernels == [[9, 7, 7, 7], [7, 5, 5, 5], [5, 3, 3, 3]]


def _seen(model: nn.Module, stride: int, cells: int) -> tuple[int, int]:
    """First and last column of the image that the cell in the middle of the map depends on."""
    for value in model.parameters():
        value.data.fill_(0.05)  # nothing cancels, and no ReLU is shut
    image = torch.rand(1, 3, stride, stride * cells, dtype=torch.float64, requires_grad=True)
    model.double()(image)[0, 0, 0, cells // 2].backward()
    assert image.grad is not None
    columns = image.grad.abs().sum((0, 1, 2)).nonzero()
    return int(columns[0]), int(columns[-1])


@pytest.mark.parametrize(("name", "kind", "parameters", "stride", "reach"), KINDS)
def test_a_cell_sees_as_far_as_told(name, kind, parameters, stride, reach):
    cells = 2 * (reach // stride + 2)
    first, last = _seen(kind(), stride, cells)
    start = cells // 2 * stride
    assert reach <= Counting().margin
    # A pool passes on one of two pixels: the last one or two may be out of sight for one image.
    assert 0 <= first - (start - reach) < stride
    assert 0 <= start + stride - 1 + reach - last < stride


@pytest.mark.parametrize(("name", "kind", "parameters", "stride", "reach"), KINDS)
def test_gradients_reach_every_parameter(name, kind, parameters, stride, reach):
    model = build_counter(name, seed=0)
    model(torch.randn(1, 3, 64, 64)).square().sum().backward()
    for key, value in model.named_parameters():
        assert value.grad is not None, key
        assert value.grad.any(), key


def test_the_start_is_that_of_the_paper():
    model = build_counter("csrnet", seed=0)
    assert isinstance(model, CSRNet)
    for part in (model.backend[0], model.backend[2], model.output_layer):
        assert isinstance(part, nn.Conv2d)
        assert part.weight.std().item() == pytest.approx(0.01, rel=0.3 if part.weight.numel() < 100 else 0.01)
        assert part.bias is not None
        assert not part.bias.any()
    for name in ("mcnn", "mcnn-light"):
        fuse = build_counter(name, seed=0).get_submodule("fuse")
        assert isinstance(fuse, nn.Conv2d)
        assert fuse.weight.std().item() == pytest.approx(0.01, rel=0.3)
    image = torch.randn(1, 3, 32, 32)
    assert 0.1 < model.frontend(image).std() < 10  # the signal neither dies nor explodes


@pytest.mark.parametrize("name", ["mcnn", "mcnn-light"])
def test_channels_last_and_compiled_give_the_same(name):
    model, image = build_counter(name, seed=0).eval(), torch.randn(2, 3, 32, 48)
    with torch.no_grad():
        plain = model(image)
        torch.testing.assert_close(
            model.to(memory_format=torch.channels_last)(image.to(memory_format=torch.channels_last)), plain
        )
        whole = torch.compile(model, backend="eager", fullgraph=True)  # no branch on data
        torch.testing.assert_close(whole(image), plain)


# ----- by name --------------------------------------------------------------------------------------------------


def test_the_seed_is_the_only_source_of_the_start():
    state = torch.random.get_rng_state()
    one, same, other = (build_counter("mcnn-light", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert _equal(one, same)
    assert not _equal(one, other)
    assert all(module.training for module in one.modules())
    torch.manual_seed(5)
    first = build_counter("mcnn-light")
    torch.manual_seed(5)
    assert _equal(first, build_counter("mcnn-light"))


@pytest.mark.parametrize(("name", "nearest"), [("mcn", "mcnn"), ("CSRNet_lite", "csrnet-lite"), ("resnet18", "csrnet")])
def test_unknown_names_get_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=rf"counter must be a known name, got '{name}'; the nearest are .*{nearest}"):
        build_counter(name)


OWN = """
from torch import nn

def counter(stride=2):
    model = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(3, 1, 2, stride=2))
    model[0].eval()
    model.stride = stride
    return model

def without():
    return nn.Identity()

def wrong():
    return counter(4)

def half():
    return counter(0.5)

def channels():
    model = nn.Sequential(nn.Conv2d(1, 1, 1))
    model.stride = 1
    return model
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "own_counter.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("own_counter", None)


def test_own_counter(own):
    model = build_counter("own_counter:counter")
    assert model.stride == 2
    assert [module.training for module in model.children()] == [False, True]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("without", r"stride of the model must be an integer of at least 1, got None from 'own_counter:without'; set"),
        ("half", r"stride of the model must be an integer of at least 1, got 0.5"),
        (
            "wrong",
            r"give a map \(1, 8, 8\) at stride 4, got \(1, 1, 16, 16\) from 'own_counter:wrong'; check its stride",
        ),
        ("channels", r"model must take images \(3, 8, 8\) .*, got 'own_counter:channels': .*channels"),
    ],
)
def test_own_counters_that_do_not_fit(own, name, message):
    with pytest.raises(ValueError, match=message):
        build_counter(f"own_counter:{name}")


# ----- weights --------------------------------------------------------------------------------------------------


def _vgg16() -> dict[str, Tensor]:
    """The keys and shapes of the first ten convolutions, and others that are not wanted."""
    generator = torch.Generator().manual_seed(3)
    state = {"classifier.0.weight": torch.zeros(2, 2), "features.24.weight": torch.zeros(512, 512, 3, 3)}
    for place, inside, outside in VGG:
        state[f"features.{place}.weight"] = torch.randn(outside, inside, 3, 3, generator=generator)
        state[f"features.{place}.bias"] = torch.randn(outside, generator=generator)
    return state


def test_the_keys_are_those_of_torchvision():
    from torchvision.models import vgg16

    with torch.device("meta"):
        published = vgg16().state_dict()
    assert {key: value.shape for key, value in _vgg16().items() if not key.startswith("classifier")}.items() <= {
        key: value.shape for key, value in published.items()
    }.items()


@pytest.mark.parametrize("name", ["csrnet", "csrnet-lite"])
@pytest.mark.parametrize("file", ["vgg16.pth", "vgg16.safetensors"])
def test_front_end_from_a_local_file(tmp_path, name, file):
    path, state = tmp_path / file, _vgg16()
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    model, fresh = build_counter(name, front_end=path, seed=0), build_counter(name, seed=0)
    for key, value in model.state_dict().items():
        part, _, rest = key.partition(".")
        torch.testing.assert_close(value, state[f"features.{rest}"] if part == "frontend" else fresh.state_dict()[key])


def test_front_ends_that_do_not_fit(tmp_path):
    state = _vgg16()
    state["features.21.bias"] = torch.zeros(2)
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other.safetensors' without features.21.bias \(512,\); save"):
        build_counter("csrnet", front_end=tmp_path / "other.safetensors")
    del state["features.21.bias"]
    save_file(state, tmp_path / "vgg.safetensors")
    with pytest.raises(ValueError, match=r"vgg16, got '.*vgg.safetensors' without features.21.bias \(512,\); save"):
        build_counter("csrnet", front_end=tmp_path / "vgg.safetensors")
    with pytest.raises(ValueError, match=r"front_end must come with csrnet or csrnet-lite, got 'mcnn'; leave it out"):
        build_counter("mcnn", front_end=tmp_path / "vgg.safetensors")
    with pytest.raises(ValueError, match=r"front_end must not come with weights, got both"):
        build_counter("csrnet", front_end=tmp_path / "a.pth", weights=tmp_path / "b.pth")
    with pytest.raises(FileNotFoundError, match=r"weights must be an existing file, got .*; nothing is downloaded"):
        build_counter("csrnet", front_end=tmp_path / "absent.pth")


def test_weights_of_the_whole_model(tmp_path):
    model = build_counter("mcnn", seed=3)
    save_file(model.state_dict(), tmp_path / "mcnn.safetensors")
    assert _equal(build_counter("mcnn", weights=tmp_path / "mcnn.safetensors", seed=0), model)
    with pytest.raises(ValueError, match=r"weights must fit the model"):
        build_counter("mcnn-light", weights=tmp_path / "mcnn.safetensors")
