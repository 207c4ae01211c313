"""
Named sets of addresses, keys and certificates, in a file of the user's own.

The file may hold keys, so that nobody else may read it: it is written with mode 0600, and not read with another.
"""

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from omen_cli import exits

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
FILE_BYTES_MAX = 1 << 20
OTHERS = stat.S_IRWXG | stat.S_IRWXO
PLACE = Path("~/.config/omen/contexts.json")
STARS = "***"

ContextsFile = Annotated[
    Path, Parameter(name="--contexts-file", env_var="OMEN_CONTEXTS_FILE", help="Where contexts are kept.")
]


@dataclass(frozen=True, slots=True)
class Context:
    """
    Where servers are, and how to be let in. What is empty is left to the command's own defaults.
    """

    omen: str = ""
    riskcast: str = ""
    reconciler: str = ""
    api_key: str = field(default="", repr=False)
    api_key_file: str = ""
    tls_ca: str = ""
    tls_client_cert: str = ""
    tls_client_key: str = ""
    timeout_s: float = 0.0

    def row(self) -> dict[str, Any]:
        """
        Return what is set, with a key starred.
        """
        return {name: STARS if name == "api_key" else value for name, value in asdict(self).items() if value}


@dataclass(frozen=True, slots=True)
class Contexts:
    """
    All contexts by name, and which one is used when none is named.
    """

    current: str
    named: Mapping[str, Context]

    def find(self, name: str) -> Context:
        """
        Return a context by its name; the current one for none, an empty one when there is no current one.
        """
        wanted = name or self.current
        if not wanted:
            return Context()
        if wanted not in self.named:
            known = ", ".join(sorted(self.named)) or "none yet"
            text = f"there is no context {wanted!r}"
            raise exits.Stopped(exits.NOT_FOUND, "CONTEXT_UNKNOWN", text, f"There are: {known}. omen context add.")
        return self.named[wanted]


def read(place: Path) -> Contexts:
    """
    Return what the file says; nothing when there is none. Stopped when it is none, or when others may read it.
    """
    path = place.expanduser()
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & OTHERS:
                text = f"{path} may hold keys, and others may read it"
                raise exits.Stopped(exits.USAGE, "CONTEXTS_EXPOSED", text, f"chmod 600 {path}")
            content = json.loads(file.read(FILE_BYTES_MAX))
        named = {str(name): Context(**row) for name, row in content["contexts"].items()}
        return Contexts(str(content["current"]), named)
    except FileNotFoundError:
        return Contexts("", {})
    except OSError as error:
        raise exits.Stopped(exits.USAGE, "CONTEXTS_UNREADABLE", f"{path}: {error.strerror}", "Mend the file.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        text = f"{path} is no file of contexts: {error}"
        raise exits.Stopped(exits.USAGE, "CONTEXTS_UNREADABLE", text, "Mend it, or remove it.") from None


def write(place: Path, contexts: Contexts) -> None:
    """
    Replace the file in one step: whoever reads it meanwhile finds the old one or the new one.
    """
    path = place.expanduser()
    rows = {
        name: {key: value for key, value in asdict(context).items() if value}
        for name, context in sorted(contexts.named.items())
    }
    text = json.dumps({"current": contexts.current, "contexts": rows}, indent=2, ensure_ascii=False) + "\n"
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise exits.Stopped(
            exits.PROBLEM, "CONTEXTS_NOT_WRITTEN", f"{path}: {error.strerror}", "Give another --contexts-file."
        ) from None


def check_name(name: str) -> str:
    """
    Return *name*, or raise Stopped when it is none.
    """
    if NAME.fullmatch(name) is None:
        text = f"{name!r} is no name of a context"
        raise exits.Stopped(exits.USAGE, "USAGE", text, "Take letters, digits, dots, hyphens and underscores.")
    return name
