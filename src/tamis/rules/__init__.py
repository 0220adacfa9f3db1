"""Rules: (weight, score, moment) -> weight. Weight 0 hides a sample, any other value multiplies its loss.

The laws, held by one test over every rule: a rule does not write to its input; the same input gives the same answer;
weights are finite and >= 0; a hidden sample is never brought back; an unscored sample is never hidden (except by
`Exclude`, `RandomSubset` and `Clip` in random order, which do not look at scores). Ties between scores are broken by
index.
"""

from tamis.rules.balance import Balanced
from tamis.rules.chain import Chain, Rule, Uniform, chain, is_batch_paced, ranks, reasons
from tamis.rules.clip import Clip
from tamis.rules.drop import DropEasy, DropHard, Exclude, Prune
from tamis.rules.infobatch import InfoBatch
from tamis.rules.self_paced import SelfPaced
from tamis.rules.subset import Easiest, Hardest, RandomSubset
from tamis.rules.within import Within, quantile_bins

__all__ = [
    "Balanced",
    "Chain",
    "Clip",
    "DropEasy",
    "DropHard",
    "Easiest",
    "Exclude",
    "Hardest",
    "InfoBatch",
    "Prune",
    "RandomSubset",
    "Rule",
    "SelfPaced",
    "Uniform",
    "Within",
    "chain",
    "is_batch_paced",
    "quantile_bins",
    "ranks",
    "reasons",
]
