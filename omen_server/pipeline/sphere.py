"""
Distances on a sphere of the Earth's mean radius.
"""

from math import asin, cos, radians, sin, sqrt
from typing import TypeAlias

RADIUS_KM = 6371.0088
DEGREE_KM = 111.195  # Along a meridian; no two points a degree of latitude apart are closer.

# Degrees north, degrees east.
Position: TypeAlias = tuple[float, float]


def distance_km(here: Position, there: Position, radius_km: float = RADIUS_KM) -> float:
    """
    Return the great-circle distance by the haversine formula, rounded to the metre.
    """
    latitude, other = radians(here[0]), radians(there[0])
    half_north = sin((other - latitude) / 2)
    half_east = sin(radians(there[1] - here[1]) / 2)
    chord = half_north * half_north + cos(latitude) * cos(other) * half_east * half_east
    return round(2 * radius_km * asin(min(1.0, sqrt(chord))), 3)


def may_be_within(here: Position, there: Position, limit_km: float) -> bool:
    """
    Whether two points can be that close, by their latitudes alone: a cheap question before the dear one.
    """
    return abs(here[0] - there[0]) * DEGREE_KM <= limit_km + 1.0
