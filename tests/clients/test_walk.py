"""
A walk through every verb: what each prints, and what each says of itself.
"""

import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from omen_cli import exits
from omen_cli.app import GROUPS, VERBS, run
from omen_cli.contexts import Context, Contexts, write
from tests.clients.command import inside

QUAKE = Path(__file__).parent.parent / "omen_server/pipeline/fixtures/usgs/quake.json"
ANSWERING: dict[str, Sequence[str]] = {  # verb → what follows it in a line that prints data
    "submit": ("--source", "usgs", str(QUAKE)),
    "emit": ("--example",),
    "signals": (),
    "signal": ("OMEN-EXAMPLE0001",),
    "explain-signal": ("OMEN-EXAMPLE0001",),
    "tail": ("--from-beginning", "--until-caught-up"),
    "stats": (),
    "hot-path": (),
    "activity": (),
    "subscribers": (),
    "rejected": (),
    "dead-letters list": (),
    "dead-letters requeue": ("--all",),
    "dead-letters purge": ("--all",),
    "reconcile run": ("--all", "--include-open"),
    "reconcile status": (),
    "reconcile history": (),
    "reconcile pause": ("a test",),
    "reconcile resume": (),
    "reconcile rate": ("1000",),
    "reconcile parked": (),
    "reconcile replay": ("--all",),
    "reconcile waive": ("OMEN-NOBODY", "--reason", "a test"),
    "demo": ("--only", "metadata"),
    "demo seed": ("--data-dir", "{new}"),
    "demo reset": ("--data-dir", "{new}"),
    "explain": ("RATE_LIMITED",),
    "health": ("omen", "--omen", "127.0.0.1:1"),
    "status": (),
    **{f"check {each}": () for each in ("server", "ledger", "stream", "ingest", "reconcile", "e2e")},
    "ledger verify": ("{ledger}",),
    "ledger cat": ("{ledger}", "2026-01-28"),
    "ledger dump": ("{ledger}", "2026-01-28"),
    "ledger prove": ("{ledger}", "OMEN-000000007"),
    "ledger partitions": ("{ledger}",),
    "ledger show": ("{ledger}", "2026-01-28"),
    "ledger repair": ("{ledger}",),
    "ledger lifecycle": ("{ledger}", "--hot-days", "0"),
    "ledger backup": ("{ledger}", "{new}.{form}"),
    "ledger restore": ("{backup}", "{new}.{form}"),
    "index rebuild": ("--data-dir", "{ledger}"),
    "tls init": ("{new}.{form}",),
    "tls renew": ("{certificates}",),
    "bench ledger": ("--seconds", "0.5", "--dir", "{ledger}"),
    **{f"bench {each}": ("--seconds", "0.5", "--dir", "{ledger}") for each in ("ingest", "emit", "e2e", "stream")},
    "bench reconcile": ("--positions", "2000", "--dir", "{ledger}"),
    "bench profile": ("laptop", "--seconds", "2", "--dir", "{ledger}"),
    "ingest": ("--example", "--times", "3"),
    "processed": (),
    "partitions": (),
    "partition": ("{today}",),
    "seal": ("{today}",),
    "proto export": ("{new}.{form}",),
    "config show": (),
    "config check": ("omen",),
    "context add": ("{form}", "--omen", "127.0.0.1:1", "--contexts-file", "{contexts}"),
    "context use": ("staging", "--contexts-file", "{contexts}"),
    "context list": ("--contexts-file", "{contexts}"),
    "context show": ("--contexts-file", "{contexts}"),
    "context remove": ("old-{form}", "--contexts-file", "{contexts}"),
    "completion": ("bash",),
    "down": ("--data-dir", "{new}"),
    "kill": ("riskcast", "--data-dir", "{new}"),
    "start": ("riskcast", "--data-dir", "{new}"),
    "version": (),
}
FORMS = {
    "bench profile": ("json",),
    "bench reconcile": ("json",),
    "bench e2e": ("jsonl",),
    "bench stream": ("jsonl",),
}  # Servers start for each.
# A number in quotes is a number lost; these are texts, which may happen to be nothing but digits.
TEXTS = {
    "value",
    "set_by",
    "script",
    "settings",
    "not_default",
    "manifest_json",
    "text",
    "reason",
    "message",
    "metadata",
}


@pytest.fixture
def contexts(tmp_path: Path) -> Path:
    """
    Return a file of contexts, none of which any server is behind.
    """
    place = tmp_path / "contexts.json"
    named = {name: Context(omen="127.0.0.1:1") for name in ("staging", "old-json", "old-jsonl")}
    write(place, Contexts("staging", named))
    return place


@pytest.fixture
def words(ledger: Path, backup: Path, contexts: Path, tmp_path: Path) -> dict[str, Any]:
    """
    Return what stands in braces in the lines above.
    """
    return {
        "ledger": ledger,
        "backup": backup,
        "contexts": contexts,
        "certificates": tmp_path / "certificates",
        "new": tmp_path / "new",
        "today": datetime.now(UTC).date(),
    }


@pytest.mark.timeout(120)
@pytest.mark.parametrize("verb", sorted(set(VERBS) - {"up"}))
def test_every_verb_prints_json_that_parses(
    verb: str,
    words: dict[str, Any],
    servers: dict[str, str],
) -> None:
    """
    With -o json stdout is one JSON value, with -o jsonl one a line, whatever the exit code; so is an error on stderr.
    """
    if verb == "tls renew":
        assert inside("tls", "init", words["certificates"]).code == exits.OK
    for form in FORMS.get(verb, ("json", "jsonl")):
        line = (word.format(**words, form=form) for word in ANSWERING[verb])
        ended = inside(*verb.split(), *line, "-o", form, **servers)
        values = [json.loads(each) for each in (ended.out or ended.err).splitlines()]
        # A conflict: in some order of the verbs the reconciler is paused by now.
        said = {exits.OK, exits.PROBLEM, exits.NOT_FOUND, exits.UNREACHABLE, exits.CONFLICT}
        assert ended.code in said, ended
        assert form == "jsonl" or len(values) == 1, ended
        assert ended.out or form == "jsonl" or ended.code in {exits.NOT_FOUND, exits.CONFLICT}, ended
        assert [each for value in values for each in digits(value)] == []


def digits(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """
    Yield every text in *value* that is a whole number in quotes, by its field; one so long is a hash or an id.
    """
    if isinstance(value, dict):
        for key, each in value.items():
            yield from digits(each, key) if key not in TEXTS else ()
    elif isinstance(value, list):
        for each in value:
            yield from digits(each, name)
    elif isinstance(value, str) and re.fullmatch(r"-?\d{1,15}", value):
        yield name, value


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_help_has_an_example(verb: str) -> None:
    """
    `omen VERB --help` says what the verb does and shows it in use.
    """
    ended = inside(*verb.split(), "--help")
    assert ended.code == 0
    examples = " ".join(ended.out.split())
    assert f"Example: omen {verb}" in examples or (verb == "bench profile" and "omen bench --profile" in examples)


def test_the_list_of_verbs_says_what_each_does() -> None:
    """
    `omen` alone and `omen --help` name every verb with a sentence; `omen check` alone is not OK to a monitor.
    """
    for group in ("", *GROUPS):
        verbs = {verb.removeprefix(f"{group} ").split()[0] for verb in VERBS if verb.startswith(f"{group} ".lstrip())}
        lines = [[*group.split(), "--help"], *([] if group in VERBS else [group.split()])]  # One that is a verb acts.
        for line, ended in [(line, inside(*line)) for line in lines]:
            assert ended.code == (
                exits.UNKNOWN if line == ["check"] else exits.OK
            )  # Nothing was checked, so nothing is OK.
            for verb in verbs:
                assert re.search(rf"│ {verb} +\w+ \w+", ended.out), verb


def test_no_module_of_a_verb_is_left_out() -> None:
    """
    Every verb of this walk is one that there is, and the other way round; `up` has tests of its own.
    """
    assert ANSWERING.keys() == VERBS.keys() - {"up"}
    assert run(["--help"]) == 0
