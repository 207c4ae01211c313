"""
The word for a confidence score.
"""

from omen.v1 import signal_pb2

HIGH_FROM = 0.75
MEDIUM_FROM = 0.50


def confidence_level(score: float) -> signal_pb2.ConfidenceLevel.ValueType:
    """
    Return the word for a confidence score. There is no other place that decides it.
    """
    if score >= HIGH_FROM:
        return signal_pb2.CONFIDENCE_LEVEL_HIGH
    return signal_pb2.CONFIDENCE_LEVEL_MEDIUM if score >= MEDIUM_FROM else signal_pb2.CONFIDENCE_LEVEL_LOW


def word(level: signal_pb2.ConfidenceLevel.ValueType) -> str:
    """
    Return a level's short name.
    """
    return signal_pb2.ConfidenceLevel.Name(level).removeprefix("CONFIDENCE_LEVEL_")
