"""
The runbook's promises: each entry is whole, each of its commands is one, and each of its tests is there.
"""

import ast
import importlib
import re
import shlex
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from omen_cli.app import application
from omen_rpc.settings import load
from reconciler.__main__ import parser as reconciler_run
from riskcast_server.backup import COMMANDS
from tests.conftest import ROOT
from tests.deploy.started import SETTINGS, program_of

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yaml"
SYMPTOMS = [
    "Lag grows",
    "Disk full",
    "Torn tail after a power cut",
    "Corruption found",
    "Duplicates rise",
    "Reconcile PARTIAL",
    "RiskCast down",
    "Subscriber slow",
    "Certificate expiring",
    "A server hangs",
    "Back up",
    "Restore RiskCast from a backup",
    "Restore the ledger from a backup",
    "Move to PostgreSQL",
]
# Programs of the machine, which no test of ours can hold.
OTHERS = {"curl", "df", "openssl", "grpcurl", "systemctl"}
INLINE = re.compile(r"`((?:omen|omen-server|riskcast-server|omen-reconciler) [a-z-][^`]*)`")


def entries() -> dict[str, str]:
    """
    Return each entry by its heading.
    """
    parts = re.split(r"^## (.+)$", RUNBOOK, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def commands(text: str) -> Iterator[str]:
    """
    Yield every command line of a text: of its blocks, and in its sentences.
    """
    for block in re.findall(r"^```sh\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        yield from block.splitlines()
    for found in INLINE.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        yield " ".join(found.split())


BY_HAND = ("runbook.md", "lifecycle.md", "upgrading.md")
ALL = sorted({line for name in BY_HAND for line in commands((ROOT / "docs" / name).read_text())})


def test_every_symptom_has_a_whole_entry() -> None:
    """
    Each symptom has a command, what normal looks like, what to do, and a test.
    """
    assert list(entries()) == SYMPTOMS
    for name, text in entries().items():
        assert "```sh\n" in text, name
        for part in ("\nNormal: ", "\nDo", "\nReproduced by `tests/"):
            assert part in text, f"{name} does not say {part!r}"


@pytest.mark.parametrize("line", ALL)
def test_every_command_is_one(line: str) -> None:
    """
    Each command line is accepted by the parser of the program that it starts.
    """
    words = shlex.split(line.partition(" | ")[0])
    match words:
        case ["omen", *rest]:
            function, _, _ = application().parse_args(rest, exit_on_error=False, print_error=False)
            assert function.__module__.startswith("omen_cli.")
        case ["riskcast-server", verb, *rest] if verb in COMMANDS:
            files = [each for each in rest[:1] if not each.startswith("-")]
            accepted("riskcast-server", rest[len(files) :])
        case ["omen-reconciler", "run", *flags]:
            accepted("omen-reconciler", reconciler_run().parse_known_args(flags)[1])
        case ["omen-reconciler", "serve", *flags] | ["omen-server" | "riskcast-server", *flags]:
            accepted(words[0], flags)
        case _:
            assert words[0] in OTHERS


def test_every_replay_says_of_what() -> None:
    """
    A replay names signals or says `--all`: without either it does nothing, and its parser cannot know.
    """
    replays = [shlex.split(line)[3:] for line in ALL if line.startswith("omen reconcile replay")]
    assert replays
    assert all(replays)


def accepted(program: str, flags: list[str]) -> None:
    """
    Fail unless a server takes these flags.
    """
    assert program in SETTINGS
    found, model = program_of(program)
    load(model, found, flags, {})


def test_every_test_is_there() -> None:
    """
    What a page says is reproduced or held by a test is a test of that name in that file.
    """
    pages = {name: (ROOT / "docs" / name).read_text() for name in BY_HAND}
    named = [each for text in pages.values() for each in re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", text)]
    assert len(named) >= len(SYMPTOMS) + 3 * (len(BY_HAND) - 1)
    files = {each for text in pages.values() for each in re.findall(r"`(tests/[\w/]+\.py)`", text)}
    assert all((ROOT / file).is_file() for file in files)
    for file, test in named:
        tree = ast.parse((ROOT / file).read_text())
        functions = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
        assert test in functions, f"{file} has no {test}"


def test_every_series_is_one() -> None:
    """
    A series that the runbook names is exposed.
    """
    importlib.import_module("omen_rpc.metrics")
    families = {metric.name for metric in REGISTRY.collect()}
    for name in re.findall(r"['`^](omen_[a-z_]+)['`]", RUNBOOK):
        assert name.removesuffix("_total") in families, name


def test_every_default_is_the_programs() -> None:
    """
    A flag that the page about retention names exists, with the default beside it; and all that ages is on the page.
    """
    _, model = program_of("omen-server")
    page = (ROOT / "docs" / "lifecycle.md").read_text()
    named = dict(re.findall(r"`--([a-z-]+)` ([\d.]+)", page))
    for flag, default in named.items():
        assert str(model.model_fields[flag.replace("-", "_")].default) == default, flag
    assert {"hot-days", "warm-days", "retention-days", "seal-grace-hours", "late-seal-grace-days"} <= named.keys()


def test_every_heading_that_is_linked_is_there() -> None:
    """
    Links within the runbook, and those of the alerts, lead to an entry.
    """
    anchors = {heading.lower().replace(" ", "-") for heading in entries()}
    links = re.findall(r"\]\(#([a-z-]+)\)", RUNBOOK)
    if ALERTS.exists():
        links += re.findall(r"docs/runbook\.md#([a-z-]+)", ALERTS.read_text())
    assert links
    assert set(links) <= anchors


def test_a_command_that_is_none_is_noticed() -> None:
    """
    A verb, a flag or a program that there is not fails the test above.
    """
    for line in ("omen heal", "omen health --all", "riskcast-server backup x --stroe y", "rm -rf DATA"):
        with pytest.raises((Exception, AssertionError)):
            test_every_command_is_one(line)
