from dataclasses import fields
from pathlib import Path

import pytest

from omen_rpc.settings import SettingsRefused, load
from omen_server.desk.settings import DeskSettings
from omen_server.ledger.settings import LedgerSettings
from omen_server.settings import PROGRAM, OmenSettings


def omen(*arguments: str, **environment: str) -> OmenSettings:
    """
    Return OMEN's settings.
    """
    return load(OmenSettings, PROGRAM, arguments, environment).settings


def test_defaults_are_the_ledgers_own() -> None:
    """
    Without a word the server gives its ledger the limits that the ledger has by itself.
    """
    assert omen().ledger == LedgerSettings()


def test_defaults_are_the_desks_own() -> None:
    """
    Without a word the server gives its desk the limits that the desk has by itself.
    """
    assert omen().desk == DeskSettings()


@pytest.mark.parametrize("field", [field.name for field in fields(DeskSettings)])
def test_every_limit_of_the_desk_can_be_set(field: str) -> None:
    """
    Each of the desk's limits has a flag, under its own name or with desk in front.
    """
    name = field if field in OmenSettings.model_fields else f"desk_{field}"
    default = getattr(DeskSettings(), field)
    other = type(default)(default + (0.5 if isinstance(default, float) else 1))
    assert getattr(omen(f"--{name.replace('_', '-')}={other}").desk, field) == other


@pytest.mark.parametrize("field", [field.name for field in fields(LedgerSettings)])
def test_every_limit_of_the_ledger_can_be_set(field: str) -> None:
    """
    Each of the ledger's limits has a flag, under its own name or with ledger in front.
    """
    name = field if field in OmenSettings.model_fields else f"ledger_{field}"
    default = getattr(LedgerSettings(), field)
    other = type(default)(default + (0.5 if isinstance(default, float) else 1))
    assert getattr(omen(f"--{name.replace('_', '-')}={other}").ledger, field) == other


def test_the_names_of_the_seeds_are_heeded() -> None:
    """
    The seeds' variables set the grace periods, and the server's own win over them.
    """
    settings = omen(SEAL_GRACE_PERIOD_HOURS="6", LATE_SEAL_GRACE_DAYS="7").ledger
    assert (settings.seal_grace_hours, settings.late_seal_grace_days) == (6.0, 7.0)
    assert omen(SEAL_GRACE_PERIOD_HOURS="6", OMEN_SEAL_GRACE_HOURS="5").ledger.seal_grace_hours == 5.0


@pytest.mark.parametrize(
    "argument", ["--segment-bytes-max=0", "--seal-grace-hours=-1", "--hot-days=31", "--ledger-payload=xml"]
)
def test_limits_that_make_no_sense_are_refused(argument: str) -> None:
    """
    A limit outside of its bounds, or tiers that overtake one another, keep the server from starting.
    """
    with pytest.raises(SettingsRefused):
        omen(argument)


def test_the_ledger_lies_in_the_data_directory() -> None:
    """
    The ledger is below the data directory, wherever that is.
    """
    assert omen("--data-dir=/var/omen").ledger_dir == Path("/var/omen/ledger")
