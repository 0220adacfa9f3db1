"""One self-contained HTML page about one or several runs, and the story of one sample.

Everything here reads the run folder (README of `tamis.run`) and never the training code, so that a page can be
made of a run on another machine, while it is still training, or years later.
"""

from tamis.report.page import write_report
from tamis.report.stories import EpochStory, SampleStory, explain_sample
from tamis.report.suspicion import Suspect, suspects

__all__ = ["EpochStory", "SampleStory", "Suspect", "explain_sample", "suspects", "write_report"]
