import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import orjson
import pytest

from omen_server.pipeline.ruleset import Ruleset
from omen_server.pipeline.run import run
from tests.omen_server.pipeline.raw_events import NOTHING_KNOWN, RULES, market


def test_id_golden() -> None:
    """
    The ruleset is the one that was reviewed: whoever changes a number or a word changes this line, too.
    """
    assert RULES.id == "1.0.0+7aa8f2ca3f24"


def test_id_shape() -> None:
    """
    The id is the version and twelve hex digits.
    """
    assert re.fullmatch(r"1\.0\.0\+[0-9a-f]{12}", RULES.id)
    assert replace(RULES, version="1.1.0").id.startswith("1.1.0+")


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """
    Return the path of every number and word in a ruleset.
    """
    members: list[tuple[Any, Any]]
    if is_dataclass(value):
        members = [(each.name, getattr(value, each.name)) for each in fields(value)]
    elif isinstance(value, Mapping):
        members = list(value.items())
    elif isinstance(value, tuple):
        # One of a list of words stands for all; the numbers of a short one are told apart.
        members = list(enumerate(value[:4]))
    else:
        return [path]
    return [leaf for name, member in members for leaf in leaves(member, (*path, name))]


def changed(value: Any, path: tuple[Any, ...]) -> Any:
    """
    Return a copy of a ruleset with one leaf changed.
    """
    if not path:
        if isinstance(value, bool):
            return not value
        return value + 1 if isinstance(value, int | float) else f"{value}x"
    name, rest = path[0], path[1:]
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{name: changed(getattr(value, name), rest)})
    if isinstance(value, Mapping):
        return {**value, name: changed(value[name], rest)}
    return (*value[:name], changed(value[name], rest), *value[name + 1 :])


def test_every_number_is_in_the_id() -> None:
    """
    A change of any number or word, wherever it stands, gives another id.
    """
    paths = leaves(RULES)
    assert len(paths) > 400
    ids = {changed(RULES, path).id for path in paths}
    assert len(ids) == len(paths)
    assert RULES.id not in ids


def test_another_ruleset_mints_other_ids() -> None:
    """
    The same event under other rules is another signal.
    """
    other = replace(RULES, semantic=replace(RULES.semantic, score_min=0.31))
    one, two = (run(market(), rules, NOTHING_KNOWN).event for rules in (RULES, other))
    assert one is not None
    assert two is not None
    assert one.input_event_hash == two.input_event_hash
    assert one.signal_id != two.signal_id
    assert one.ruleset_version != two.ruleset_version


def test_canonical() -> None:
    """
    The canonical form is JSON with sorted keys, and holds every part.
    """
    read = orjson.loads(RULES.canonical())
    assert set(read) == {field.name for field in fields(Ruleset)}
    assert orjson.dumps(read, option=orjson.OPT_SORT_KEYS) == RULES.canonical()
    assert read["liquidity"]["usd_min"] == 1000.0
    assert read["sources"]["nws"] == {"age_s_max": 0, "kind": "alert", "trust": 0.85, "voice": ""}


@pytest.mark.parametrize("seed", ["0", "31337"])
def test_id_in_another_process(seed: str) -> None:
    """
    The seed of Python's own hashes moves nothing.
    """
    code = "from omen_server.pipeline.ruleset import Ruleset; print(Ruleset().id)"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=True,
        timeout=30,
        text=True,
    )
    assert answer.stdout.strip() == RULES.id
