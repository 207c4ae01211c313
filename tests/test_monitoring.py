"""
The dashboard and the alerts speak of series that exist, with labels that they have.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from omen_rpc import metrics
from omen_rpc.expiry import DAY_S, WARN_DAYS

STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}")
GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
WINDOW = re.compile(r"\[[^\]]*\]")
WORD = re.compile(r"(?<![\w.:])[a-zA-Z_:][\w:]*")
# What an expression may hold beside series.
LANGUAGE = {"sum", "max", "min", "rate", "increase", "histogram_quantile", "or", "and", "absent"}
TARGET_LABELS = {"instance", "job", "le"}
FOREIGN = {"process_resident_memory_bytes"}
SEVERITIES = {"warning", "critical"}
# The symptoms that the runbook is ordered by.
SYMPTOMS = {
    "lag-grows",
    "reconcile-partial",
    "corruption-found",
    "disk-full",
    "duplicates-rise",
    "certificate-expiring",
}


def labels_by_sample() -> dict[str, set[str]]:
    """
    Return every sample that a server may expose, with the labels it may have.
    """
    known: dict[str, set[str]] = {}
    for collector, names in REGISTRY._collector_to_names.items():
        for name in names:
            known[name] = {*getattr(collector, "_labelnames", ())}
    return known


def problems(expression: str) -> list[str]:
    """
    Return what is wrong with a query: words that are no series, and labels that its series do not have.
    """
    known = labels_by_sample()
    found: list[str] = []
    bare = WINDOW.sub("", STRING.sub('""', expression))
    for name, matchers in SELECTOR.findall(bare):
        wanted = set(re.findall(r"(\w+)\s*[=!]", matchers))
        found += [f"{name} has no label {label}" for label in wanted - known.get(name, set()) - TARGET_LABELS]
    grouped = {label.strip() for group in GROUPING.findall(bare) for label in group.split(",")}
    rest = GROUPING.sub("", SELECTOR.sub(r"\1", bare))
    names = {word for word in WORD.findall(rest) if word not in LANGUAGE}
    found += [f"{name} is no series" for name in names if name not in known and name not in FOREIGN]
    labels = set.union(TARGET_LABELS, *(known.get(name, set()) for name in names))
    return found + [f"no series has the label {label}" for label in grouped - labels] + ([] if names else ["no series"])


def test_what_is_wrong_is_found() -> None:
    """
    The lint itself sees a series that does not exist, a label that a series does not have, and an empty query.
    """
    assert problems("rate(omen_ledger_append_total[5m])") == ["omen_ledger_append_total is no series"]
    assert problems("omen_ledger_appends > 1") == []
    assert problems('omen_ledger_offset{stage="x"}') == ["omen_ledger_offset has no label stage"]
    assert problems("sum by (code) (omen_ledger_offset)") == ["no series has the label code"]
    assert problems("1 > 2") == ["no series"]
    assert problems('sum by (state) (rate(omen_ledger_offset{state=~"a|b"}[5m])) > 1.5e3') == []


@pytest.fixture
def rules(root: Path) -> list[dict[str, Any]]:
    """
    Return the alerts.
    """
    (group,) = yaml.safe_load((root / "deploy/prometheus/alerts.yaml").read_text())["groups"]
    return list(group["rules"])


def test_alerts_each_say_what_to_do(rules: list[dict[str, Any]], root: Path) -> None:
    """
    Lag, age of reconciling, corruption, disk, duplicates, certificates: each has a time, a severity, a sentence, and
    its place in the runbook.
    """
    anchors = set()
    for rule in rules:
        assert not problems(rule["expr"]), rule["alert"]
        assert re.fullmatch(r"\d+m", rule["for"])
        assert rule["labels"]["severity"] in SEVERITIES
        assert rule["annotations"]["summary"].endswith(".")
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        anchors.add(anchor)
        assert page == "docs/runbook.md"
        if (root / page).exists():
            headings = re.findall(r"(?m)^#+ (.*)$", (root / page).read_text())
            assert anchor in {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
    assert (len(rules), anchors) == (len(SYMPTOMS), SYMPTOMS)


def test_certificates_alert_when_servers_begin_to_warn(rules: list[dict[str, Any]]) -> None:
    """
    The alert, the warning in a server's log and the runbook's normal are about the same days.
    """
    (rule,) = [rule for rule in rules if rule["annotations"]["runbook"].endswith("#certificate-expiring")]
    assert rule["expr"].endswith(f"< {WARN_DAYS * DAY_S:.0f}")


def test_a_reconciler_that_is_gone_alerts_too(rules: list[dict[str, Any]]) -> None:
    """
    What the age of the last success cannot tell, because nobody is there to tell it, is asked for by name.
    """
    (rule,) = [rule for rule in rules if rule["alert"] == "OmenReconcileAge"]
    assert "or absent(omen_reconcile_last_success_age_seconds)" in rule["expr"]


def panels_of(root: Path) -> Iterator[dict[str, Any]]:
    """
    Yield the dashboard's panels.
    """
    yield from json.loads((root / "deploy/grafana/omen.json").read_text())["panels"]


def test_every_panel_shows_something(root: Path) -> None:
    """
    Every panel has a title, a sentence, a unit, and queries of series that exist; panels have ids and places of their
    own.
    """
    panels = list(panels_of(root))
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
        for target in panel["targets"]:
            assert not problems(target["expr"]), panel["title"]


def test_what_operating_needs_is_on_the_dashboard(root: Path) -> None:
    """
    Every server's series are looked at, and all that an alert stands on.
    """
    shown = " ".join(target["expr"] for panel in panels_of(root) for target in panel.get("targets", ()))
    words = {metrics.server_of(name) for name in re.findall(r"omen_\w+", shown)}
    assert words == {*metrics.OWN, metrics.EVERY}
    alerts = (root / "deploy/prometheus/alerts.yaml").read_text()
    assert {name for name in re.findall(r"omen_\w+", alerts) if name not in shown} == set()
