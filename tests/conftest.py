import pytest
import torch
from hypothesis import settings

pytest_plugins = ["faults", "pytester"]

# The same examples in every run: a failure is somebody's change, not somebody's luck.
settings.register_profile("tamis", deadline=None, derandomize=True)
settings.load_profile("tamis")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)
