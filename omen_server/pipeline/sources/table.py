"""
Tables of values separated by commas, with a header.
"""

import csv
import io

from omen_server.pipeline.sources.harvest import Harvest
from omen_server.pipeline.sources.node import Node, line, read_lines
from omen_server.pipeline.sources.source import SourceMalformed, SourceRefused

COLUMNS_MAX = 100


def read_table(harvest: Harvest, body: bytes, *needed: str) -> tuple[list[str], list[Node]]:
    """
    Return the columns' names in lower case, and the rows by them; a row of another length is skipped.

    Whatever has not the *needed* columns is no table of this source, but often a page or a sentence that says why not.
    """
    source = harvest.source
    read_lines(source, body)
    try:
        text = body.decode("utf-8-sig")
        rows = csv.reader(io.StringIO(text, newline=""))
        header = [line(name).lower() for name in next(rows)[:COLUMNS_MAX]]
        if not set(needed) <= set(header):
            raise SourceRefused(source, "line 1", f"has no {' and '.join(needed)}, but says {line(text, 200)!r}")
        nodes: list[Node] = []
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                harvest.skip(f"line {rows.line_num}", f"has {len(row)} columns, not {len(header)}")
                continue
            nodes.append(Node(dict(zip(header, row, strict=True)), f"line {rows.line_num}"))
    except UnicodeDecodeError as error:
        raise SourceMalformed(source, f"byte {error.start}", "is no UTF-8") from None
    except (csv.Error, StopIteration) as error:
        raise SourceMalformed(source, "", f"is no table: {error}") from None
    return header, nodes
