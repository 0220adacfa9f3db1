import builtins
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tamis.models import SmallNet, WideResNet, build_model, load_weights


def _count(model: nn.Module) -> int:
    return sum(value.numel() for value in model.parameters())


def _build(name: str, **changes: Any) -> nn.Module:
    settings: dict[str, Any] = {"classes": 10, "channels": 3, "size": 32, "seed": 0}
    return build_model(name, **(settings | changes))


def _equal(one: nn.Module, other: nn.Module, but: str = " ") -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().values(), strict=True)
    return all(torch.equal(left, right) for (key, left), right in pairs if not key.startswith(but))


# ----- our own --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "pools"), [(8, 1), (16, 2), (28, 3), (32, 3), (64, 3)])
def test_small_pools_while_there_is_something_to_pool(size, pools):
    model = SmallNet(4, in_channels=1, size=size)
    assert sum(isinstance(module, nn.MaxPool2d) for module in model.modules()) == pools
    inputs = torch.randn(2, 1, size, size)
    assert model(inputs).shape == (2, 4)
    assert model.features(inputs).shape == (2, 64)
    torch.testing.assert_close(model.head(model.features(inputs)), model(inputs))


def test_small_sizes():
    assert _count(SmallNet(10)) == 146_754
    assert _count(_build("small")) == 146_754
    assert _count(_build("small-wide")) == 569_666
    assert _count(_build("small", channels=1, size=28)) == 141_874


def test_small_refuses():
    with pytest.raises(ValueError, match=r"size must be at least 8 pixels, got 7; enlarge the images"):
        SmallNet(10, size=7)
    with pytest.raises(ValueError, match=r"classes must be at least 2, got 1"):
        SmallNet(1)


def test_small_memorises_random_labels():
    torch.manual_seed(0)
    model, inputs, labels = SmallNet(4, in_channels=1, size=8), torch.randn(64, 1, 8, 8), torch.arange(64) % 4
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    assert (model(inputs).argmax(1) == labels).all()


def test_wrn_28_10_has_the_published_size():
    with torch.device("meta"):
        assert _count(WideResNet(10)) == 36_479_194  # Table 5 of the paper: 36.5 M
        assert _count(WideResNet(10, depth=40, widen=4)) == pytest.approx(8.9e6, rel=0.01)
        assert _count(WideResNet(10, depth=16, widen=8)) == pytest.approx(11.0e6, rel=0.01)


def test_wrn_has_a_quarter_of_the_side_at_the_end():
    model = _build("wrn-10-1", channels=1, size=28, classes=7)
    assert isinstance(model, WideResNet)
    inputs = torch.randn(2, 1, 28, 28)
    assert model.body(inputs).shape == (2, 64, 7, 7)
    assert model(inputs).shape == (2, 7)


def test_wrn_dropout_works_in_training_only():
    model, inputs = WideResNet(3, depth=10, widen=1, dropout=0.5), torch.randn(2, 3, 8, 8)
    assert not torch.equal(model(inputs), model(inputs))
    model.eval()
    assert torch.equal(model(inputs), model(inputs))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"depth": 27}, r"depth must be 6n \+ 4 with n >= 1, got 27; take 10, 16"),
        ({"depth": 4}, r"depth must be 6n \+ 4 with n >= 1, got 4"),
        ({"widen": 0}, r"widen must be at least 1, got 0"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ({"classes": 1}, r"classes must be at least 2, got 1"),
    ],
)
def test_wrn_refuses(wrong, message):
    with pytest.raises(ValueError, match=message):
        WideResNet(**({"classes": 10} | wrong))


# ----- by name --------------------------------------------------------------------------------------------------

BY_NAME = [
    ("small", 1, 8),
    ("small-wide", 3, 32),
    ("small-fast", 1, 28),
    ("small-wide-fast", 3, 32),
    ("wrn-10-2", 3, 32),
    ("resnet18", 3, 32),
    ("resnet18", 1, 28),
    ("resnet18", 3, 96),
    ("vgg11", 1, 8),
    ("vgg11_bn", 1, 28),
    ("mobilenet_v3_small", 1, 32),
    ("vit_b_32", 1, 32),
    ("googlenet", 3, 32),
    ("timm:resnet18", 1, 32),
    ("timm:vit_tiny_patch16_224", 1, 32),
]


@pytest.mark.parametrize(("name", "channels", "size"), BY_NAME)
def test_every_name_gives_logits_and_gradients(name, channels, size):
    model = _build(name, channels=channels, size=size, classes=7)
    assert all(module.training for module in model.modules())
    logits = model(torch.randn(2, channels, size, size))
    assert logits.shape == (2, 7)
    logits.logsumexp(1).sum().backward()
    assert all(value.grad is not None for value in model.parameters())


@pytest.mark.slow
def test_vgg16_is_small_for_small_images():
    assert _count(_build("vgg16")) == 14_719_818


def test_resnet_keeps_its_resolution_for_small_images_only():
    small, large = _build("resnet18"), _build("resnet18", size=65)
    assert small.conv1.stride == (1, 1)
    assert isinstance(small.maxpool, nn.Identity)
    assert large.conv1.stride == (2, 2)
    assert isinstance(large.maxpool, nn.MaxPool2d)
    assert _count(small) == 11_173_962


def test_the_seed_is_the_only_source_of_the_start():
    state = torch.random.get_rng_state()
    one, same, other = _build("small"), _build("small"), _build("small", seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert _equal(one, same)
    assert not _equal(one, other)
    torch.manual_seed(5)
    first = _build("small", seed=None)
    torch.manual_seed(5)
    assert _equal(first, _build("small", seed=None))


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("resnet81", "resnet18"),
        ("smal", "small"),
        ("VGG-16", "vgg16"),
        ("wrn-28", "wrn-28-10"),
        ("timm:resnet81", "resnet18"),
    ],
)
def test_unknown_names_get_the_nearest(name, nearest):
    shown = name.removeprefix("timm:")
    with pytest.raises(ValueError, match=rf"model must be a known name, got '{shown}'; the nearest are .*{nearest}"):
        _build(name)


def test_timm_names_that_would_download_are_refused():
    with pytest.raises(ValueError, match=r"timm model must be a known name, got 'hf-hub:someone/model'"):
        _build("timm:hf-hub:someone/model")


def test_without_timm_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModuleNotFoundError, match=r"timm must be installed .* pip install 'tamis\[timm\]'"):
        _build("timm:resnet18")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "alexnet",
            {},
            r"model must take images \(3, 32, 32\) and give 10 logits, got 'alexnet': .*too small.*; resize",
        ),
        ("vit_b_16", {"size": 28}, r"size must be a multiple of 16 for vit_b_16, got 28; resize the images"),
        ("wrn-12-3", {}, r"depth must be 6n \+ 4"),
        ("small", {"size": 4}, r"size must be at least 8 pixels, got 4"),
        ("small", {"new_head": True}, r"new_head must come with weights, got none"),
    ],
)
def test_what_does_not_fit_the_data_fails_at_once(name, changes, message):
    with pytest.raises(ValueError, match=message):
        _build(name, **changes)


# ----- a model of one's own -------------------------------------------------------------------------------------

OWN = """
from torch import nn

LIST = [1]

def flat(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * 32 * 32, num_classes))

def five():
    return flat(5)

def frozen(num_classes=2):
    model = flat(num_classes)
    model[1].eval()
    return model

def number():
    return 3

def image():
    return nn.Identity()
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "own_net.py").write_text(OWN)
    (tmp_path / "own_broken.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("own_net", "own_broken"):
        sys.modules.pop(name, None)


def test_own_model_gets_the_number_of_classes_if_it_takes_it(own):
    assert _build("own_net:flat", classes=7)(torch.zeros(1, 3, 32, 32)).shape == (1, 7)
    assert _build("own_net:five", classes=5)(torch.zeros(1, 3, 32, 32)).shape == (1, 5)


def test_own_model_keeps_its_modes(own):
    model = _build("own_net:frozen")
    assert [module.training for module in model.children()] == [True, False, True]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("own_net:five", ValueError, r"give 10 logits, got \(1, 5\) from 'own_net:five'; check its last layer"),
        ("own_net:image", ValueError, r"give 10 logits, got \(1, 3, 32, 32\) from"),
        ("own_net:number", TypeError, r"model must return a torch.nn.Module, got int from 'own_net:number'"),
        ("own_net:LIST", TypeError, r"model must name a callable of 'own_net', got 'LIST'"),
        ("own_net:flatt", TypeError, r"model must name a callable of 'own_net', got 'flatt'; the nearest are flat"),
        ("own_net:", ValueError, r"model must be 'module:callable', got 'own_net:'"),
        (":flat", ValueError, r"model must be 'module:callable', got ':flat'"),
        (
            "own_nett:flat",
            ModuleNotFoundError,
            r"got 'own_nett:flat', no module 'own_nett'; put its folder on PYTHONPATH",
        ),
        ("own_broken:flat", ModuleNotFoundError, r"^No module named 'no_such_package'$"),
    ],
)
def test_own_model_errors(own, name, error, message):
    with pytest.raises(error, match=message):
        _build(name)


def test_only_a_name_with_a_colon_imports_code(own):
    with pytest.raises(ValueError, match="model must be a known name, got 'own_net'"):
        _build("own_net")
    assert "own_net" not in sys.modules


# ----- weights --------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path):
    """A file with the state of a small network for 10 classes, as safetensors and as .pt."""
    state = _build("small", seed=3).state_dict()
    save_file(state, tmp_path / "net.safetensors")
    torch.save(state, tmp_path / "net.pt")
    return tmp_path


@pytest.mark.parametrize("file", ["net.safetensors", "net.pt"])
def test_weights_are_read_from_a_file(saved, file):
    model = _build("small", weights=saved / file)
    assert _equal(model, _build("small", seed=3))
    with pytest.raises(
        ValueError, match=r"other shapes: head.weight \(10, 64\) for \(4, 64\), head.bias .*; use new_head"
    ):
        _build("small", classes=4, weights=saved / file)
    fresh = _build("small", classes=4)
    model = _build("small", classes=4, weights=saved / file, new_head=True)
    assert _equal(model, _build("small", seed=3), but="head")
    assert torch.equal(model.state_dict()["head.weight"], fresh.state_dict()["head.weight"])


def test_a_new_head_stays_new_even_where_the_old_one_fits(saved):
    model = _build("small", weights=saved / "net.pt", new_head=True)
    assert torch.equal(model.state_dict()["head.weight"], _build("small").state_dict()["head.weight"])


def test_weights_of_another_model_are_refused_whole(saved):
    state = _build("small", seed=3).state_dict()
    state["extra"] = state.pop("body.0.bias")
    save_file(state, saved / "other.safetensors")
    model = _build("small")
    with pytest.raises(ValueError, match=r"missing: body.0.bias; unexpected: extra; other shapes: none"):
        load_weights(model, saved / "other.safetensors", new_head=True)
    assert _equal(model, _build("small"))


def test_old_files_without_batch_counters_fit(saved):
    state = _build("small", seed=3).state_dict()
    counters = [key for key in state if key.endswith("num_batches_tracked")]
    save_file({key: value for key, value in state.items() if key not in counters}, saved / "old.safetensors")
    assert counters
    assert _equal(_build("small", weights=saved / "old.safetensors"), _build("small", seed=3))


def test_files_that_are_no_state_dict(saved):
    (saved / "text.safetensors").write_text("no")
    (saved / "text.pt").write_text("no")
    torch.save({"epoch": 3, "model": {}}, saved / "training.pt")
    torch.save([1], saved / "list.pt")
    for file, message in (
        ("text.safetensors", r"weights must be tensors only, got .*; save model.state_dict\(\) with safetensors"),
        ("text.pt", r"weights must be tensors only, got"),
        ("training.pt", r"weights must be a state dict, .* with epoch, model; save model.state_dict\(\) alone"),
        ("list.pt", r"weights must be a state dict, .* with list"),
        ("net.bin", r"weights must be a .safetensors, .pt or .pth file"),
    ):
        (saved / "net.bin").touch()
        with pytest.raises(ValueError, match=message):
            _build("small", weights=saved / file)
    with pytest.raises(FileNotFoundError, match=r"weights must be an existing file, got .*; nothing is downloaded"):
        _build("small", weights=saved / "absent.pt")


class _Attack:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return builtins.open, (str(self.canary), "w")


@pytest.mark.parametrize("save", [torch.save, lambda value, path: Path(path).write_bytes(pickle.dumps(value, 2))])
def test_pickled_code_is_not_run(tmp_path, save):
    save({"body.0.bias": _Attack(tmp_path / "canary")}, tmp_path / "attack.pt")
    with pytest.raises(ValueError, match=r"weights must be tensors only"):
        _build("small", weights=tmp_path / "attack.pt")
    assert not (tmp_path / "canary").exists()
