"""Tests for a set-up of one's own: does it survive kills and broken images, can its loader be resumed?"""

from tamis.testing.digests import digest_of, digests_of_run
from tamis.testing.images import make_bad_images
from tamis.testing.kills import Kills, assert_same_after_kill
from tamis.testing.loaders import assert_resumable

__all__ = [
    "Kills",
    "assert_resumable",
    "assert_same_after_kill",
    "digest_of",
    "digests_of_run",
    "make_bad_images",
]
