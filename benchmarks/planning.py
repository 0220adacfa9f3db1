"""Planning an epoch: the rule, the fixed order and its filter; seconds and memory on one core.

The physical limit is reading the scores and writing the order once: 8 bytes a sample at the speed of memory. A random
permutation of n numbers cannot reach it: each of its writes is a cache miss.

    python benchmarks/planning.py --samples 1280000 100000000
"""

import argparse
import resource
import subprocess
import sys
import time

import torch

from record import append
from tamis.ledger import Ledger
from tamis.paces import Polynomial
from tamis.rules import Clip, Easiest, InfoBatch, Prune, RandomSubset, Rule, Uniform, chain
from tamis.sampler import PlannedSampler

RULES: dict[str, Rule] = {
    "uniform": Uniform(),
    "random": RandomSubset(0.5),
    "infobatch": InfoBatch(),
    "easiest": Easiest(Polynomial()),
    "easiest -> prune": chain(Easiest(Polynomial()), Prune(0.05)),
    "clip": Clip(),
    "clip, random order": Clip(order="random"),
}


def measure(name: str, samples: int) -> None:
    torch.set_num_threads(1)
    ledger = Ledger(samples)
    generator = torch.Generator().manual_seed(0)
    ledger.score.uniform_(generator=generator)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sampler = PlannedSampler(ledger, RULES[name], epochs=10, rank=0, world_size=1)
    times = []
    for epoch in range(1, 4 if samples < 10_000_000 else 2):
        started = time.perf_counter()
        sampler.set_epoch(epoch)
        times.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    ledger.score.clone()
    copy = time.perf_counter() - started
    row = {
        "rule": name,
        "samples": samples,
        "shown": len(sampler),
        "seconds": round(min(times), 4),
        "peak_gb": round(peak / 1e6, 3),
        "before_gb": round(before / 1e6, 3),
        "copy_of_scores_seconds": round(copy, 4),
    }
    append("planning", row)
    print(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=[50_000, 1_280_000, 100_000_000])
    parser.add_argument("--rule", choices=RULES)
    given = parser.parse_args()
    if given.rule:
        measure(given.rule, given.samples[0])
        return
    for samples in given.samples:
        for name in RULES:
            # A process of its own each, so that the peak of memory is this rule's.
            subprocess.run([sys.executable, __file__, "--rule", name, "--samples", str(samples)], check=True)


if __name__ == "__main__":
    main()
