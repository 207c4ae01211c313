"""
What a verb prints: data on stdout in the form the user asked for, talk and errors on stderr.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

Form: TypeAlias = Literal["text", "json", "jsonl"]
Row: TypeAlias = Mapping[str, Any]


def print_rows(form: Form, rows: Sequence[Row], columns: Sequence[str]) -> None:
    """
    Print *rows* as a list: JSON has all of each row, text the named columns.
    """
    if form == "json":
        print(json.dumps(list(rows), ensure_ascii=False))
    elif form == "jsonl":
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
    else:
        print_table([[shown(row.get(column, "")) for column in columns] for row in rows], columns)
    sys.stdout.flush()  # More may come much later, and whoever reads a pipe waits for these.


def print_one(form: Form, row: Row) -> None:
    """
    Print one thing: JSON as an object, text as a line for each of its parts.
    """
    if form == "text":
        width = max(len(name) for name in row)
        for name, value in row.items():
            print(f"{name.replace('_', ' '):<{width}}  {shown(value)}".rstrip())
    else:
        print(json.dumps(row, ensure_ascii=False))


def print_table(cells: Sequence[Sequence[str]], columns: Sequence[str]) -> None:
    """
    Print *cells* in aligned columns under their names.
    """
    table = [[column.upper().replace("_", " ") for column in columns], *cells]
    widths = [max(len(line[at]) for line in table) for at in range(len(columns))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_error(form: str, reason: str, text: str, *, remedy: str = "", **more: Any) -> None:
    """
    Tell on stderr what went wrong and what to do; as one line of JSON for whoever asked for JSON.
    """
    if form == "text":
        print(f"omen: {harmless(text)}", file=sys.stderr)
        for violation in more.get("violations", ()):
            print(f"  {violation['field']}: {violation['description']}", file=sys.stderr)
        if remedy:
            print(f"  → {remedy}", file=sys.stderr)
        return
    told = {"reason": reason, "message": text, "remedy": remedy} | {
        k: v for k, v in more.items() if v not in (None, "")
    }
    print(json.dumps({"error": told}, ensure_ascii=False), file=sys.stderr)


def harmless(text: str) -> str:
    """
    Return *text* with what a terminal would obey, such as escape sequences in what a stranger sent, spelt out.
    """
    return "".join(each if each.isprintable() or each in " \n" else ascii(each)[1:-1] for each in text)


def say(text: str) -> None:
    """
    Tell the user something that is not data.
    """
    print(harmless(text), file=sys.stderr)


def wanted_form(arguments: Sequence[str]) -> str:
    """
    Return the form a command line asks for, also when the rest of it makes no sense.
    """
    for at, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in {"-o", "--output"}:
            value = value if equals else "".join(arguments[at + 1 : at + 2])
        elif argument.startswith("-o") and not argument.startswith("--"):
            value = argument[2:]
        else:
            continue
        return value if value in {"json", "jsonl"} else "text"
    return "text"


def shown(value: Any) -> str:
    """
    Return *value* as it stands in a column.
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(shown(each) for each in value)
    return harmless(str(value))
