"""Before training: few frames out of many, by a change gate, a student's doubts and a teacher's answers."""

from tamis.culling.costs import Cost, Spent, Step
from tamis.culling.gate import ChangeGate, Gate
from tamis.culling.journal import Journal
from tamis.culling.resolution import Resolution, opt_resolution
from tamis.culling.select import apart, at_random, evenly, hardest

__all__ = [
    "ChangeGate",
    "Cost",
    "Gate",
    "Journal",
    "Resolution",
    "Spent",
    "Step",
    "apart",
    "at_random",
    "evenly",
    "hardest",
    "opt_resolution",
]
