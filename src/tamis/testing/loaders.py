"""Does a loader, stopped anywhere, go on with exactly what was still to come?"""

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

from tamis.testing.digests import digest_of

_EPOCHS = 2  # the second one tells whether the loader also remembers which epoch it is in
_LIMIT = 100_000


def assert_resumable(
    make_loader: Callable[[], Any],
    *,
    positions: int = 12,
    seed: int = 0,
    part: Callable[[Any], Any] = lambda batch: batch,
) -> int:
    """Check that a loader can be stopped after any batch and gone on with in another process.

    The convention is that of torchdata's StatefulDataLoader: one `iter` is one epoch, `state_dict` may be asked for
    between two batches, and a fresh loader that is given the state yields the rest of that epoch, then the next one.
    `state_dict` and `load_state_dict` are looked for on the loader, then on its batch sampler and its sampler, so
    that a DataLoader over `tamis.PlannedSampler` or `tamis.PlannedBatchSampler` works as it is. `set_epoch`, if there
    is one, is called before every epoch.

    Two epochs are stopped in: after the first batches, the last ones, and at random places between. At each place the
    state is also passed on once more at once, and after one more batch: a loader often forgets what it was told.

    Args:
        make_loader: makes a fresh loader, as a new process would; over a small data set.
        positions: places to stop at in each epoch, beside its end; all of them if the epoch has fewer batches.
        seed: decides which places.
        part: what of a batch must be the same, if not all of it (tensors, arrays, numbers, texts, bytes, nested).

    Returns:
        How many stops were tried.

    Raises:
        AssertionError: what came was not what was still to come; the message names the place and what differs.
        TypeError: the loader has no state, or a batch holds something that cannot be compared.
        ValueError: an epoch without batches, or without end.
    """
    loader = make_loader()
    straight = [list(_epoch(loader, epoch, part)) for epoch in range(_EPOCHS + 1)]
    if not straight[0]:
        raise ValueError("loader must yield batches, got an empty first epoch; give it a data set")
    stops = 0
    for epoch in range(_EPOCHS):
        for done, state in _states(make_loader, straight, epoch, _places(len(straight[epoch]), positions, seed), part):
            where = f"after {done} of {len(straight[epoch])} batches of epoch {epoch}"
            for steps in (None, 0, 1):
                if steps and done == len(straight[epoch]):
                    continue
                _check_stop(make_loader, straight, epoch, done, state, steps, where, part)
                stops += 1
    return stops


def _check_stop(
    make_loader: Callable[[], Any],
    straight: list[list[str]],
    epoch: int,
    done: int,
    state: Any,
    steps: int | None,
    where: str,
    part: Callable[[Any], Any],
) -> None:
    """Go on from a state; with `steps`, take so many batches, then pass the state on once more."""
    loader = make_loader()
    _holder(loader).load_state_dict(copy.deepcopy(state))
    if steps is not None:
        if steps:
            batches = _epoch(loader, epoch, part)
            for expected in straight[epoch][done : done + steps]:
                _compare([next(batches, "")], [expected], straight[epoch], where)
        state = copy.deepcopy(_holder(loader).state_dict())
        loader = make_loader()
        _holder(loader).load_state_dict(state)
        where += ", gone on with" + (f" for {steps} batch" if steps else "") + " and stopped again"
        done += steps
    rest = straight[epoch][done:]
    if rest:
        _compare(list(_epoch(loader, epoch, part)), rest, straight[epoch], where)
    following = list(_epoch(loader, epoch + 1, part))
    if not rest and not following:  # a loader may first tell that the epoch it was stopped in has ended
        following = list(_epoch(loader, None, part))
    _compare(following, straight[epoch + 1], straight[epoch + 1], f"{where}, in the next epoch")


def _states(
    make_loader: Callable[[], Any], straight: list[list[str]], epoch: int, places: set[int], part: Callable[[Any], Any]
) -> Iterator[tuple[int, Any]]:
    """The states at some places of an epoch, of a loader that ran through the epochs before it."""
    loader = make_loader()
    holder = _holder(loader)
    for earlier in range(epoch):
        _compare(list(_epoch(loader, earlier, part)), straight[earlier], straight[earlier], "in a second, fresh loader")
    batches = _epoch(loader, epoch, part)
    asked = "in a loader that was asked for its state"
    for done, expected in enumerate(straight[epoch]):
        if done in places:
            yield done, copy.deepcopy(holder.state_dict())
        _compare([next(batches, "")], [expected], straight[epoch], asked)
    yield len(straight[epoch]), copy.deepcopy(holder.state_dict())
    _compare(list(batches), [], straight[epoch], asked)
    yield len(straight[epoch]), copy.deepcopy(holder.state_dict())


def _epoch(loader: Any, epoch: int | None, part: Callable[[Any], Any]) -> Iterator[str]:
    """Digests of the batches of (what is left of) an epoch; the loader's own course if `epoch` is None."""
    chosen = _owner(loader, "set_epoch")
    if chosen is not None and epoch is not None:
        chosen.set_epoch(epoch)
    for place, batch in enumerate(loader):
        if place == _LIMIT:
            raise ValueError(f"epoch must end, got more than {_LIMIT} batches; give the loader a small data set")
        yield digest_of(part(batch))


def _holder(loader: Any) -> Any:
    found = _owner(loader, "state_dict", "load_state_dict")
    if found is None:
        raise TypeError(
            f"loader must have state_dict and load_state_dict, or a sampler that has, got {type(loader).__name__}; "
            "use tamis.PlannedSampler or torchdata's StatefulDataLoader"
        )
    return found


def _owner(loader: Any, *methods: str) -> Any:
    """The loader itself, its batch sampler, or one of its samplers: the first that has the methods."""
    batches = getattr(loader, "batch_sampler", None)
    for each in (loader, batches, getattr(batches, "sampler", None), getattr(loader, "sampler", None)):
        if all(callable(getattr(each, method, None)) for method in methods):
            return each
    return None


def _places(count: int, positions: int, seed: int) -> set[int]:
    """After how many batches to stop, short of the end of the epoch."""
    edges = {place for place in (1, 2, count - 2, count - 1) if 0 < place < count}
    between = sorted(set(range(1, count)) - edges)
    return edges | set(random.Random(seed).sample(between, max(0, min(positions - len(edges), len(between)))))  # noqa: S311


def _compare(got: list[str], expected: list[str], epoch: list[str], where: str) -> None:
    """Raise if two lists of digests differ; `epoch` is the uninterrupted one, to name batches by."""
    if got == expected:
        return
    same = 0
    while same < min(len(got), len(expected)) and got[same] == expected[same]:
        same += 1
    wanted = f"batch {epoch.index(expected[same])}" if same < len(expected) else "the end"
    if same >= len(got) or not got[same]:
        what = "the end"
    elif got[same] in epoch:
        what = f"batch {epoch.index(got[same])}"
    else:
        what = "a batch that the uninterrupted epoch does not have"
    raise AssertionError(
        f"loader must go on with {wanted}, got {what} {where}; its state must hold epoch, position in what was "
        "yielded (not in what was fetched ahead) and the random state"
    )
