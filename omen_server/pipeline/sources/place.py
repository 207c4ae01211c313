"""
Places in GeoJSON: longitude comes first there.
"""

from omen.v1.signal_pb2 import Location
from omen_server.pipeline.sources.node import Node, Unfit, whole
from omen_server.pipeline.sources.source import SourceMalformed, SourceRefused

CORNERS_MAX = 10_000


def features(source: str, root: Node) -> list[Node]:
    """
    Return the features of a collection, or of one feature alone.
    """
    with whole(source):
        kind = root["type"].value
        if kind == "FeatureCollection":
            return root["features"].said_nodes()
    if kind == "Feature":
        return [root]
    if root["status"].value is not None or root["title"].value is not None:
        raise SourceRefused(source, "title", str(root["title"].value or root["status"].value)[:200])
    raise SourceMalformed(source, "type", "is no FeatureCollection")


def middle(geometry: Node, location: Location) -> None:
    """
    Put the middle of a point, polygon or multipolygon into *location*: of all corners of the outer rings.
    """
    if geometry.value is None:
        return
    kind, coordinates = geometry["type"].text(), geometry["coordinates"]
    if kind == "Point":
        corners = [coordinates]
    elif kind == "Polygon":
        corners = ring(coordinates)
    elif kind == "MultiPolygon":
        corners = [corner for polygon in coordinates.nodes()[:CORNERS_MAX] for corner in ring(polygon)]
    else:
        raise Unfit(geometry["type"].place, f"is {kind}, which is no place here")
    if not 0 < len(corners) <= CORNERS_MAX:
        raise Unfit(coordinates.place, f"has {len(corners)} corners, 1 to {CORNERS_MAX} are read")
    points = [point(corner) for corner in corners]
    location.longitude = middle_longitude([longitude for longitude, _ in points])
    location.latitude = round(sum(latitude for _, latitude in points) / len(points), 6) + 0.0


def middle_longitude(longitudes: list[float]) -> float:
    """
    Return the middle of longitudes, also where the date line runs between them.
    """
    if max(longitudes) - min(longitudes) > 180:
        longitudes = [longitude % 360 for longitude in longitudes]
    east = sum(longitudes) / len(longitudes)
    return round(east - 360 if east > 180 else east, 6) + 0.0


def ring(polygon: Node) -> list[Node]:
    """
    Return the corners of a polygon's outer ring, the last one left out where it repeats the first.
    """
    rings = polygon.nodes()
    corners = rings[0].nodes() if rings else []
    return corners[:-1] if len(corners) > 1 and corners[0].value == corners[-1].value else corners


def point(node: Node) -> tuple[float, float]:
    """
    Return longitude and latitude of a position.
    """
    parts = node.nodes()
    if len(parts) < 2:
        raise Unfit(node.place, "is no position")
    return degrees(parts[0], 180.0), degrees(parts[1], 90.0)


def degrees(node: Node, most: float) -> float:
    """
    Return an angle of at most *most* degrees either way.
    """
    angle = node.number()
    if not -most <= angle <= most:
        raise Unfit(node.place, f"is beyond {most:g} degrees")
    return angle
