import difflib
from typing import Any

from omen_cli import exits
from omen_cli.options import Output
from omen_cli.output import print_one, print_rows
from omen_rpc.contract import ErrorRule, catalogue


def explain(reason: str | None = None, *, output: Output = "text") -> None:
    """
    Say what an error means and what to do about it; without a reason, list them all.

    Example: omen explain RATE_LIMITED

    Parameters
    ----------
    reason
        The reason as an error shows it, such as API_KEY_MISSING.
    """
    rules = catalogue()
    if reason is None:
        print_rows(output, [told(rule) for rule in rules.values()], ["reason", "code", "next", "meaning"])
        return
    name = reason.strip().upper().removeprefix("ERROR_REASON_")
    if name not in rules:
        near = difflib.get_close_matches(name, rules, 1)
        remedy = f"Did you mean {near[0]}?" if near else "omen explain lists them all."
        raise exits.Stopped(exits.NOT_FOUND, "REASON_UNKNOWN", f"there is no error {reason}", remedy)
    print_one(output, told(rules[name]))


def told(rule: ErrorRule) -> dict[str, Any]:
    """
    Return one row of the catalogue as it is printed.
    """
    return {
        "reason": rule.name,
        "code": rule.code.name,
        "next": rule.action,
        "meaning": rule.summary,
        "remedy": rule.remedy,
        "metadata": sorted(rule.metadata_keys),
        "details": list(rule.detail_types),
    }
