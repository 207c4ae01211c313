import sys
from dataclasses import replace as changed
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from omen_cli import exits
from omen_cli.contexts import PLACE, Context, Contexts, ContextsFile, check_name, read, write
from omen_cli.options import Output
from omen_cli.output import print_one, print_rows, say

COLUMNS = ("current", "name", "omen", "riskcast", "reconciler", "key", "tls_ca")
KEY_CHARS_MAX = 4096

Name = Annotated[str, Parameter(help="The context's name.")]
Stdin = Annotated[bool, Parameter(negative="", help="Read the key from stdin, and keep it in the file.")]
Replace = Annotated[bool, Parameter(negative="", help="Also when there is one of this name.")]


def add(
    name: Name,
    *,
    omen: Annotated[str, Parameter(help="OMEN's address.")] = "",
    riskcast: Annotated[str, Parameter(help="RiskCast's address.")] = "",
    reconciler: Annotated[str, Parameter(help="The reconciler's address.")] = "",
    api_key_stdin: Stdin = False,
    api_key_file: Annotated[Path | None, Parameter(help="A file with the key, read at every call.")] = None,
    tls_ca: Annotated[Path | None, Parameter(help="The CA to trust, PEM; turns TLS on.")] = None,
    tls_client_cert: Annotated[Path | None, Parameter(help="Own certificate.")] = None,
    tls_client_key: Annotated[Path | None, Parameter(help="Its private key.")] = None,
    timeout_s: Annotated[float, Parameter(help="How long a call may take.")] = 0.0,
    replace: Replace = False,
    contexts_file: ContextsFile = PLACE,
    output: Output = "text",
) -> None:
    """
    Keep addresses, a key and certificates under a name. The first context is used from then on.

    Example: omen context add staging --omen omen.staging:50051 --tls-ca ca.pem --api-key-stdin < key
    """
    known = read(contexts_file)
    if check_name(name) in known.named and not replace:
        text = f"there is a context {name!r} already"
        raise exits.Stopped(exits.CONFLICT, "CONTEXT_EXISTS", text, "Say --replace, or take another name.")
    context = Context(
        omen=omen,
        riskcast=riskcast,
        reconciler=reconciler,
        api_key=sys.stdin.read(KEY_CHARS_MAX).strip() if api_key_stdin else "",
        api_key_file=placed(api_key_file),
        tls_ca=placed(tls_ca),
        tls_client_cert=placed(tls_client_cert),
        tls_client_key=placed(tls_client_key),
        timeout_s=timeout_s,
    )
    if not context.row():
        raise exits.Stopped(exits.USAGE, "USAGE", "a context without anything in it", "Give --omen HOST:PORT at least.")
    write(contexts_file, Contexts(known.current or name, {**known.named, name: context}))
    print_one(output, {"name": name, "current": (known.current or name) == name, **context.row()})


def use(name: Name, *, contexts_file: ContextsFile = PLACE, output: Output = "text") -> None:
    """
    Make a context the one that is used when neither --context nor OMEN_CONTEXT names another.

    Example: omen context use staging
    """
    known = read(contexts_file)
    context = known.find(check_name(name))
    write(contexts_file, changed(known, current=name))
    print_one(output, {"name": name, "current": True, **context.row()})


def list_(*, contexts_file: ContextsFile = PLACE, output: Output = "text") -> None:
    """
    List the contexts; keys are starred.

    Example: omen context list
    """
    known = read(contexts_file)
    rows = [
        {
            "current": name == known.current,
            "name": name,
            **context.row(),
            "key": bool(context.api_key or context.api_key_file),
        }
        for name, context in sorted(known.named.items())
    ]
    print_rows(output, rows, COLUMNS)
    if not rows:
        say("There is none; the servers that omen up runs on this machine are used.")


def show(
    name: Annotated[str, Parameter(help="The context's name; the current one if not given.")] = "",
    *,
    contexts_file: ContextsFile = PLACE,
    output: Output = "text",
) -> None:
    """
    Show one context, its key starred.

    Example: omen context show staging
    """
    known = read(contexts_file)
    context = known.find(name)
    shown = name or known.current
    print_one(output, {"name": shown, "current": shown == known.current, **context.row()})


def remove(name: Name, *, contexts_file: ContextsFile = PLACE, output: Output = "text") -> None:
    """
    Forget a context. When it was the current one, there is none then.

    Example: omen context remove staging
    """
    known = read(contexts_file)
    known.find(check_name(name))
    left = {each: context for each, context in known.named.items() if each != name}
    write(contexts_file, Contexts("" if known.current == name else known.current, left))
    print_one(output, {"removed": name, "left": len(left)})


def placed(path: Path | None) -> str:
    """
    Return a path that means the same from every directory.
    """
    return "" if path is None else str(path.expanduser().absolute())
