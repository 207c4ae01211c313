"""
XML from a stranger: no document type, no entities, neither deep nor large.
"""

from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from omen_server.pipeline.sources.node import check_body
from omen_server.pipeline.sources.source import SourceMalformed

DEPTH_MAX = 32
ELEMENTS_MAX = 200_000


class Markup:
    """
    Builds the tree of one document, and refuses what a feed has no need of.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._tree = TreeBuilder()
        self._depth = 0
        self._elements = 0
        self._parser = expat.ParserCreate(namespace_separator="}")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._tree.data
        self._parser.StartDoctypeDeclHandler = self._refuse

    def read(self, body: bytes) -> Element:
        """
        Return the document's root; names are `{namespace}name`, as everywhere in Python.
        """
        try:
            self._parser.Parse(body, True)
        except expat.ExpatError as error:
            raise SourceMalformed(self._source, f"line {error.lineno}", expat.errors.messages[error.code]) from None
        except (ValueError, LookupError):  # An encoding that Python knows, and that expat cannot use.
            raise SourceMalformed(self._source, "line 1", "is in an encoding that is not read") from None
        return self._tree.close()

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._elements += 1
        if self._depth > DEPTH_MAX or self._elements > ELEMENTS_MAX:
            self._refuse()
        self._tree.start(qualified(name), attributes)

    def _end(self, name: str) -> None:
        self._depth -= 1
        self._tree.end(qualified(name))

    def _refuse(self, *_: object) -> None:
        place = f"line {self._parser.CurrentLineNumber}"
        raise SourceMalformed(self._source, place, "is nested, declared or repeated more than a feed needs")


def qualified(name: str) -> str:
    """
    Return a name as ElementTree writes it.
    """
    return "{" + name if "}" in name else name


def read_xml(source: str, body: bytes) -> Element:
    """
    Read an answer of *source* that must be XML.
    """
    check_body(source, body)
    return Markup(source).read(body)
