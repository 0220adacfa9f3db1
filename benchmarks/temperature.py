"""What data parameters cost: scaled loss + backward + LazySGD, against the plain head, at any number of rows.

Three heads on logits (128, k): plain cross-entropy with one loss per sample, as the training loop needs it; the same
with instance parameters and LazySGD; and the dense way of the published code (clone, step, restore), O(N).
"mean" is torch's fused mean loss, which gives no loss per sample. The limit is the plain head: the rows of a batch are
half a kilobyte, so what is added is the overhead of about twenty-five small operations.

    python benchmarks/temperature.py --rows 50000 1280000 14000000 100000000
"""

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from record import append
from tamis.models import build_model
from tamis.temperature import DataParameters, LazySGD

BATCH = 128


def microseconds(calls: dict[str, Callable[[], None]], rounds: int, repeats: int) -> dict[str, float]:
    """The best of many short rounds, taken in turn, so that other processes disturb it least and all calls alike."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            for _ in range(repeats):  # what the call before has put out of the caches comes back
                call()
            started = time.perf_counter()
            for _ in range(repeats):
                call()
            best[name] = min(best[name], (time.perf_counter() - started) / repeats)
    return {name: 1e6 * seconds for name, seconds in best.items()}


def network_step(classes: int) -> float:
    """A training step of the small network on 32 x 32 images, without data parameters."""
    model = build_model("small", classes=classes, channels=3, size=32, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    images, labels = torch.randn(BATCH, 3, 32, 32), torch.randint(classes, (BATCH,))

    def step() -> None:
        F.cross_entropy(model(images), labels, reduction="none").mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return microseconds({"step": step}, rounds=8, repeats=1)["step"]


def measure(rows: int, classes: int, step: float) -> dict[str, float]:
    logits = torch.randn(BATCH, classes, requires_grad=True)
    labels = torch.randint(classes, (BATCH,))
    plans = [torch.randint(rows, (BATCH,)) for _ in range(64)]
    place = 0

    def index() -> torch.Tensor:
        nonlocal place
        place += 1
        return plans[place % 64]

    def mean() -> None:
        logits.grad = None
        F.cross_entropy(logits, labels).backward()

    def plain() -> None:
        logits.grad = None
        F.cross_entropy(logits, labels, reduction="none").mean().backward()

    table = DataParameters(samples=rows)
    optimizer = LazySGD(table.parameters(), lr=1e-5, clamp=(-3.0, 3.0))  # the logits stay as they are: so must sigma

    def lazy() -> None:
        logits.grad = None
        F.cross_entropy(table(logits, labels, index()), labels, reduction="none").mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    whole = torch.zeros(rows, requires_grad=True)
    dense_sgd = torch.optim.SGD([whole], lr=0.1, momentum=0.9)

    def dense() -> None:
        logits.grad = None
        F.cross_entropy(logits / whole[index()].exp()[:, None], labels, reduction="none").mean().backward()
        gradient = whole.grad
        if gradient is None:
            return
        absent, before = gradient == 0, whole.detach().clone()
        state = dense_sgd.state.get(whole, {}).get("momentum_buffer")
        momentum = None if state is None else state.clone()
        dense_sgd.step()
        with torch.no_grad():
            whole[absent] = before[absent]
            if momentum is not None:
                dense_sgd.state[whole]["momentum_buffer"][absent] = momentum[absent]
        dense_sgd.zero_grad()

    found = microseconds({"mean_us": mean, "plain_us": plain, "lazy_us": lazy}, rounds=1000, repeats=6)
    if rows <= 20_000_000:
        found |= microseconds({"dense_us": dense}, rounds=20 if rows < 1_000_000 else 2, repeats=1)
    found["network_step_us"] = step
    momentum = next(iter(optimizer.state.values()))["momentum"]
    found["bytes_a_row"] = (
        (table.log_sigma_instance.nbytes + momentum.nbytes) / rows if table.log_sigma_instance is not None else 0
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 1_280_000, 14_000_000, 100_000_000])
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 1000])
    given = parser.parse_args()
    torch.set_num_threads(1)
    for classes in given.classes:
        step = network_step(classes)
        for rows in given.rows:
            found = measure(rows, classes, step)
            append(
                "temperature",
                {"rows": rows, "classes": classes, **{key: round(value, 2) for key, value in found.items()}},
            )
            print(rows, classes, {key: round(value, 1) for key, value in found.items()}, flush=True)


if __name__ == "__main__":
    main()
