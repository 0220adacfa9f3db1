"""What the figures of a culling say, in a few sentences, and no more than they say."""

import math

from tamis.report.cull_reading import Culled
from tamis.report.cull_tables import costs, known, precision_of, times
from tamis.report.tables import DASH


def verdict(culled: Culled) -> str:
    """The page's first sentence, made from the figures of the culling."""
    kept, count = int(culled.kept.sum()), len(culled)
    share = f" ({100 * kept / count:.2g}\u00a0%)" if count and kept < count else ""
    return " ".join(
        part for part in (f"Kept {kept:,} of {count:,} frames{share}.", _judged(culled), _cheaper(culled)) if part
    )


def _judged(culled: Culled) -> str:
    judged = culled.result.get("judged") or {}
    trained, full, untrained = (precision_of(judged.get(name)) for name in ("trained", "full", "untrained"))
    if trained == DASH:
        return ""
    images = known(judged.get("images"))
    where = "" if math.isnan(images) else f" on {images:,.0f} frames that it was not trained on"
    truth = {"teacher": ", with the teacher's boxes as truth", "human": ", with human labels as truth"}
    others = [f"{full} trained on all" if full != DASH else "", f"{untrained} untrained" if untrained != DASH else ""]
    text = f"The student trained on them reaches an mAP50 of {trained}{where}{truth.get(str(judged.get('truth')), '')}"
    told = " and ".join(other for other in others if other)
    return f"{text}; {told}." if told else f"{text}."


def _cheaper(culled: Culled) -> str:
    factor, rows = culled.result.get("factor") or {}, costs(culled)
    by_time, by_flops = times(factor.get("seconds")), times(factor.get("flops"))
    if by_time == DASH or not rows or rows[-1].culled is None or rows[-1].full is None:
        return ""
    own, full = rows[-1].culled, rows[-1].full
    flops = "" if by_flops == DASH else f" and {by_flops} less by FLOPs"
    text = f"All of it took {own.seconds}, {by_time} less than training on every frame ({full.seconds}){flops}; "
    if own.measured and full.measured:
        return text + "both were measured."
    measured = "what it took was measured" if own.measured else "parts of what it took are extrapolated"
    return f"{text}{measured}, the full training {'was measured' if full.measured else 'is extrapolated'}."


def loss_note(culled: Culled) -> str:
    """Which confidence loss the scores are."""
    told = "The score is the confidence loss, summed over the student's boxes"
    if culled.config.get("per_class"):
        told = "The score is the confidence loss, brought to mean 0 and variance 1 in each class"
    if culled.config.get("score") == "published":
        return f"{told}, as in the code that was published with the paper (log10, Q = 4)."
    if culled.config.get("b") not in (None, 0.5):
        return f"{told}, with b = {culled.config['b']}."
    return (
        f"{told}, as printed in the paper, with b = 0.5. Its text wants b \u201cto set the intercept to zero\u201d: "
        "that would be \u22120.5, and would put empty frames above those with many sure boxes."
    )
