"""
What becomes of everything that can go wrong in a verb: a sentence on stderr that says what to do, and an exit code.
"""

from cyclopts import CycloptsError

from omen_cli import exits
from omen_cli.output import print_error
from omen_rpc.channel import ConnectionRefused
from omen_rpc.errors import CallError, DeadlineExceeded, NotAllowed, Unreachable

STARTED_BY = {  # what errors call a server → how it is started, and the flag that names another
    "OMEN": ("omen up", "--omen"),
    "RiskCast": ("omen up", "--riskcast"),
    "The reconciler": ("omen-reconciler serve", "--reconciler"),
}
TLS = {  # what may be wrong with it → what to do
    "missing": "If it speaks TLS, give the CA of its certificate with --tls-ca.",
    "failed": "Give the CA of its certificate with --tls-ca, or none if it speaks no TLS; renew what has run out.",
}


def failed(form: str, error: Exception) -> int:
    """
    Tell what went wrong and return the exit code for it.
    """
    match error:
        case CallError():
            code = failed_call(form, error)
        case exits.Stopped():
            code = error.code
            print_error(form, error.reason, str(error), remedy=error.remedy)
        case CycloptsError():
            code = exits.USAGE
            print_error(
                form, "USAGE", str(error), remedy="omen --help lists the verbs, omen VERB --help what one takes."
            )
        case ConnectionRefused():
            code = exits.USAGE
            print_error(form, "USAGE", str(error), remedy="Give a file that can be read.")
        case UnicodeEncodeError():  # What is printed is never refused, so this is what was given.
            code = exits.USAGE
            print_error(form, "USAGE", f"{error.object!r} is no UTF-8", remedy="Give text as UTF-8.")
        case OSError() if error.errno is not None:
            code = exits.PROBLEM
            at = f"{error.filename}: " if error.filename is not None else ""
            print_error(form, "SYSTEM_REFUSED", f"{at}{error.strerror or error}", remedy="Make room, or allow it.")
        case _:
            code = exits.BUG
            print_error(
                form, "BUG", f"{type(error).__name__}: {error}", remedy="This is a bug of omen; please report it."
            )
    return code


def failed_call(form: str, error: CallError) -> int:
    """
    Tell of a call that failed, and return the exit code of its status.
    """
    print_error(
        form,
        error.reason or error.code.name,
        error.message,
        code=error.code.name,
        retryable=error.retryable,
        retry_after_s=error.retry_after_s,
        metadata=error.metadata,
        violations=[{"field": each.field, "description": each.description} for each in error.violations],
        remedy=remedy(error),
    )
    return exits.of(error.code)


def remedy(error: CallError) -> str:
    """
    Return what the user can do about a call that failed.
    """
    match error:
        case Unreachable() if error.tls:
            return TLS[error.tls]
        case Unreachable():
            started, flag = STARTED_BY.get(error.server, ("omen up", "its flag"))
            return f"Is it running? Start it with {started}, or name another with {flag}."
        case DeadlineExceeded():
            return "Give it more time with --timeout-s; omen health tells how the servers are."
        case NotAllowed():
            return f"Give --api-key-file a file with a key that may do this; omen explain {error.reason} tells more."
        case CallError(reason="" | "METHOD_UNKNOWN") if exits.of(error.code) == exits.USAGE:
            return "Is that the right server, and of this version? omen health lists the services it has."
    return f"omen explain {error.reason}" if error.rule is not None else ""
