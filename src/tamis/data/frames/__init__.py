"""Frames of fixed cameras: from videos and images, in order, decoded once and converted when they are used."""

from tamis.data.frames.frame import Frame, FrameRef, Lost
from tamis.data.frames.open import Frames, open_frames

__all__ = ["Frame", "FrameRef", "Frames", "Lost", "open_frames"]
