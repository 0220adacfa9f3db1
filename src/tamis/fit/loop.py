"""The one training loop, as a function."""

from collections.abc import Callable

from torch import Tensor, nn

from tamis.fit.growth import Changes
from tamis.fit.protocols import Boxed, Fitted, Progress, Source, Task
from tamis.fit.settings import Settings
from tamis.fit.training import Training
from tamis.methods import Method, Temperature
from tamis.run import Run


def fit(
    model: nn.Module,
    task: Task,
    train: Source,
    *,
    settings: Settings,
    method: Method | None = None,
    temperature: Temperature | None = None,
    validation: Source | None = None,
    run: Run | None = None,
    watch: Callable[[Progress], None] | None = None,
    stop: Callable[[], int] | None = None,
    changes: Changes | None = None,
    scores: Tensor | None = None,
) -> Fitted:
    """Train a model.

    The loss of a step is the mean of weight * losses over the batch. With a run folder, the training goes on after
    the newest checkpoint that is found there, also in the middle of an epoch, and ends as if it had never stopped, to
    the bit. Dropout and the like draw from torch's global generator, which is seeded from (seed, epoch, step) before
    every step. Where a process group is initialised, its processes share each batch; all of them call this with the
    same arguments.

    A step with losses that are NaN or infinite does not change the model; ten of them in a row end the training.

    Args:
        model: maps `Batch.inputs` to what the task understands; trained in place.
        task: losses and evaluation.
        train: the training samples.
        settings: lengths, rates, precision, device.
        method: what is shown and what is scored; ordinary training by default.
        temperature: learn data parameters too; where the samples are `Boxed`, of their boxes.
        validation: judged every `settings.evaluate_every` epochs; decides which epoch is best.
        run: where to keep everything.
        watch: called several times an epoch and at its end.
        stop: asked after every step; any number but 0 saves a checkpoint and ends the training.
        changes: of the data, that the run has accepted; an older checkpoint is brought up to them (see `grown`).
        scores: float32 (n,), what is known of the samples before the first epoch; NaN = nothing.

    Raises:
        ValueError: the method records log sigma but there are no instance parameters, or they are of boxes; or it is
            given scores that are not one for each sample.
        NotFinite: losses were NaN or infinite in too many steps.
        Stopped: `stop` said so.
        OSError: there was no room for a checkpoint.
    """
    method = method or Method()
    if method.score == "log_sigma" and (temperature is None or temperature.kind == "class"):
        raise ValueError(
            "the method scores by log_sigma and needs instance data parameters; use kind instance or joint"
        )
    if method.score == "log_sigma" and isinstance(train, Boxed):
        raise ValueError(
            "the method must not score by log_sigma where sigma is of boxes, got log_sigma; take another method"
        )
    if scores is not None and scores.shape != (len(train),):
        raise ValueError(f"scores must be one for each of the {len(train)} samples, got shape {tuple(scores.shape)}")
    training = Training(
        model, task, train, settings, method, temperature, validation, run, watch, stop, changes, scores
    )
    return training.finish()
