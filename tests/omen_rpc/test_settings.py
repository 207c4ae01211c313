from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from omen_console.settings import PROGRAM as CONSOLE
from omen_console.settings import ConsoleSettings
from omen_rpc.settings import (
    Loaded,
    Program,
    ProgramSettings,
    ServerSettings,
    SettingsRefused,
    flag,
    has_flag,
    load,
    parser,
    variables,
    without_password,
)
from omen_server.settings import PROGRAM as OMEN
from omen_server.settings import OmenSettings
from riskcast_server.settings import PROGRAM as RISKCAST
from riskcast_server.settings import RiskCastSettings

SECRET = "sk-live-51Hx"
SERVERS: list[tuple[Program, type[ProgramSettings]]] = [
    (OMEN, OmenSettings),
    (RISKCAST, RiskCastSettings),
    (CONSOLE, ConsoleSettings),
]
SPECIAL = {"retention_days": "3000", "base_path": "/x/"}
FIELDS = [(program, model, name) for program, model in SERVERS for name in model.model_fields]


def omen(*arguments: str, **environment: str) -> Loaded[OmenSettings]:
    """
    Load OMEN's settings.
    """
    return load(OmenSettings, OMEN, arguments, environment)


def riskcast(*arguments: str, **environment: str) -> Loaded[RiskCastSettings]:
    """
    Load RiskCast's settings.
    """
    return load(RiskCastSettings, RISKCAST, arguments, environment)


def refused(*arguments: str, **environment: str) -> str:
    """
    Return why OMEN does not start with these.
    """
    with pytest.raises(SettingsRefused) as caught:
        omen(*arguments, **environment)
    return str(caught.value)


def written(path: Path, text: str) -> str:
    """
    Write *text* to a file and return the flag that reads it.
    """
    path.write_text(text)
    return f"--config={path}"


def test_flag_over_environment_over_file_over_default(tmp_path: Path) -> None:
    """
    Each source wins over the next, and every value says where it came from.
    """
    file = written(tmp_path / "o.toml", "log_level = 'error'\nbody_timeout_s = 3\nmetrics_port = 1\nlisten = '[::1]:1'")
    loaded = omen(file, "--listen=127.0.0.1:2", OMEN_LISTEN="127.0.0.1:3", OMEN_METRICS_PORT="4")
    shown = {each.name: (each.value, each.source, each.set_by) for each in loaded.shown()}
    assert shown["listen"] == ("127.0.0.1:2", "flag", "--listen")
    assert shown["metrics_port"] == ("4", "environment", "OMEN_METRICS_PORT")
    assert shown["log_level"] == ("error", "file", f"{tmp_path / 'o.toml'}: log_level")
    assert shown["body_timeout_s"][:2] == ("3.0", "file")
    assert shown["write_timeout_s"] == ("30.0", "default", "")
    assert list(shown) == list(OmenSettings.model_fields)


def test_empty_variable_is_unset() -> None:
    """
    An empty variable counts as none, as container files cannot leave one out.
    """
    assert omen(OMEN_LISTEN="").settings.listen == "127.0.0.1:50051"


@pytest.mark.parametrize(("program", "model", "name"), FIELDS, ids=[f"{p.name}-{n}" for p, _, n in FIELDS])
def test_every_setting_has_a_flag_and_a_variable(program: Program, model: type[ProgramSettings], name: str) -> None:
    """
    Every setting can be given by its variable, and by its flag unless it is a secret; --help tells both.
    """
    field = model.model_fields[name]
    text = parser(model, program).format_help()
    secret = "SecretStr" in str(field.annotation)
    assert has_flag(field) != secret
    assert (flag(name) in text.replace("\n", " ").split() or f"{flag(name)}," in text) != secret
    variable = f"{program.prefix}_{name.upper()}"
    assert variables(program, name, field)[0] == variable
    assert variable in text.replace("\n", "").replace(" ", "")
    assert field.description


def example(annotation: str) -> str:
    """
    Return text that a setting of this type takes.
    """
    if "bool" in annotation:
        return "true"
    if "Literal" in annotation:
        return annotation.split("'")[1]
    return "7" if "int" in annotation or "float" in annotation else "127.0.0.1:7"


@pytest.mark.parametrize(("program", "model", "name"), FIELDS, ids=[f"{p.name}-{n}" for p, _, n in FIELDS])
def test_every_flag_and_variable_sets_its_setting(program: Program, model: type[ProgramSettings], name: str) -> None:
    """
    What the flag sets and what the variable sets are the same value of the same setting.
    """
    field = model.model_fields[name]
    least = next((each.ge for each in field.metadata if hasattr(each, "ge")), 0)
    text = {"retention_days": "3000", "base_path": "/x/"}.get(name) or (
        str(least) if least > 7 else example(str(field.annotation))
    )
    by_variable = load(model, program, [], {f"{program.prefix}_{name.upper()}": text})
    assert by_variable.origins == {name: ("environment", f"{program.prefix}_{name.upper()}")}
    if has_flag(field):
        argument = flag(name) if "bool" in str(field.annotation) else f"{flag(name)}={text}"
        by_flag = load(model, program, [argument], {})
        assert by_flag.origins == {name: ("flag", flag(name))}
        assert getattr(by_flag.settings, name) == getattr(by_variable.settings, name) != ""


@pytest.mark.parametrize(
    ("environment", "name", "value"),
    [
        ({"OMEN_SECURITY_API_KEYS": "k"}, "api_keys", SecretStr("k")),
        ({"OMEN_SECURITY_API_KEYS_FILE": "/k"}, "api_keys_file", Path("/k")),
        ({"OMEN_ENV": "production"}, "env", "production"),
        ({"RATE_LIMIT_REQUESTS_PER_MINUTE": "60"}, "rate_limit_per_minute", 60),
    ],
)
def test_shared_variables_reach_both_servers(environment: Mapping[str, str], name: str, value: Any) -> None:
    """
    What is set for all servers at once by its common name is heard by each.
    """
    assert getattr(omen(**environment).settings, name) == value
    assert getattr(riskcast(**environment).settings, name) == value


def test_own_variables_win_over_shared_ones() -> None:
    """
    RiskCast's own variables, its older one for the database among them, are RiskCast's alone.
    """
    both = {"RISKCAST_SECURITY_API_KEYS": "mine", "OMEN_SECURITY_API_KEYS": "theirs", "RISKCAST_ENV": "production"}
    keys = riskcast(**both).settings.api_keys
    assert keys is not None
    assert keys.get_secret_value() == "mine"
    assert (riskcast(**both).settings.env, omen(**both).settings.env) == ("production", "development")
    assert riskcast(RISKCAST_DB_PATH="/r.db").origins["store"] == ("environment", "RISKCAST_DB_PATH")
    assert riskcast(RISKCAST_DB_PATH="/r.db", RISKCAST_STORE="sqlite:///s.db").settings.store == "sqlite:///s.db"
    assert omen(DATABASE_URL="postgresql://h/d").settings.index == "postgresql://h/d"
    assert "index" not in riskcast(DATABASE_URL="postgresql://h/d").origins


def test_own_table_wins_over_the_top(tmp_path: Path) -> None:
    """
    One file serves all servers: each takes what stands at the top, and over it its own table, and no other's.
    """
    file = written(tmp_path / "o.toml", "log_level='error'\nmetrics_port=1\n[omen]\nmetrics_port=2\n[riskcast]\nx=1\n")
    assert (omen(file).settings.log_level, omen(file).settings.metrics_port) == ("error", 2)
    by_variable = load(OmenSettings, OMEN, [], {"OMEN_CONFIG": file.removeprefix("--config=")})
    assert by_variable.settings.metrics_port == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lisen = '127.0.0.1:1'", "lisen is no setting of omen-server. Did you mean listen?"),
        ("[omen]\nmetric_port = 1", "metric_port is no setting of omen-server. Did you mean metrics_port?"),
        ("zzz = 1", "zzz is no setting of omen-server. omen-server --help lists what there is."),
        ("[omne]\nlisten = 'x'", "[omne] is nobody's table. Did you mean [omen]?"),
        ("omen = 3", "omen is no setting of omen-server."),
        ("listen = ", "not TOML: "),
        ("listen = 5", "o.toml: listen (file): Input should be a valid string"),
        (f"api_keys = ['{SECRET}']", "o.toml: api_keys (file): Input should be a valid string"),
    ],
)
def test_file_that_cannot_be_is_refused_in_words(text: str, says: str, tmp_path: Path) -> None:
    """
    A key, a table or a value that cannot be names the file and what was probably meant, and shows no secret.
    """
    why = refused(written(tmp_path / "o.toml", text))
    assert says in why
    assert str(tmp_path / "o.toml") in why
    assert SECRET not in why


def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """
    A file that cannot be read is named, and so is one that is not text.
    """
    assert refused(f"--config={tmp_path}/no.toml").startswith(f"{tmp_path}/no.toml: No such file or directory.")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    assert "not TOML" in refused(f"--config={tmp_path}/b.toml")


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (["--metrics-port=70000"], {}, "--metrics-port (flag): Input should be less than or equal to 65535"),
        ([], {"OMEN_METRICS_PORT": "high"}, "OMEN_METRICS_PORT (environment): Input should be a valid integer"),
        ([], {"OMEN_INSECURE": SECRET}, "OMEN_INSECURE (environment): Input should be a valid boolean"),
        (["--env=staging"], {}, "--env (flag): Input should be 'development' or 'production'"),
        (["--body-timeout-s=0"], {}, "--body-timeout-s (flag): Input should be greater than 0"),
        (["--body-timeout-s=nan"], {}, "--body-timeout-s (flag): Input should be"),
        (["--lisen=x"], {}, "--lisen is no flag of omen-server. Did you mean --listen?"),
        ([f"--zzz={SECRET}"], {}, "--zzz is no flag of omen-server. omen-server --help lists what there is."),
        ([SECRET], {}, "there is an argument without a flag."),
        ([f"--api-keys={SECRET}"], {}, "--api-keys is no flag, since every process can read a command line. Set OMEN_API_KEYS instead."),  # noqa: E501
        (["--api-keys", SECRET], {}, "Set OMEN_API_KEYS instead."),
        (["--listen"], {}, "argument --listen: expected one argument."),
        (["--list=127.0.0.1:1"], {}, "--list is no flag"),
    ],
)  # fmt: skip
def test_bad_value_names_its_source(arguments: list[str], environment: dict[str, str], says: str) -> None:
    """
    What is wrong is said in one line by the name it was given under, and without the value, which may be a secret.
    """
    why = refused(*arguments, **environment)
    assert says in why
    assert len(why.splitlines()) == 1
    assert SECRET not in why


def test_every_bad_value_is_named() -> None:
    """
    Two mistakes are told at once, a line each.
    """
    assert len(refused("--metrics-port=-1", "--env=staging").splitlines()) == 2


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50051"),
        ("sqlite:///./.omen/riskcast.db", "sqlite:///./.omen/riskcast.db"),
        ("postgresql://h/d", "postgresql://h/d"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        (f"postgresql://u:{SECRET}@h:5432/d?x=1", "postgresql://u:***@h:5432/d?x=1"),
        (f"postgresql://u:{SECRET}@{SECRET}/@h/d", "postgresql://u:***@h/d"),
        (f"postgresql://:{SECRET}@h/d", "postgresql://:***@h/d"),
        (f"postgresql://h/d?user=u&password={SECRET}&x=1", "postgresql://h/d?user=u&password=***&x=1"),
    ],
)
def test_passwords_of_urls_are_starred(value: str, shown: str) -> None:
    """
    A database's URL is shown without the password it may carry, in either of the places it may stand.
    """
    assert without_password(value) == shown
    settings = {each.name: each.value for each in omen(OMEN_INDEX=value).shown()}
    assert settings["index"] == shown


def test_secrets_are_starred() -> None:
    """
    A secret is shown as stars, and what is not set as nothing.
    """
    shown = {each.name: each.value for each in omen(OMEN_API_KEYS=SECRET).shown()}
    assert (shown["api_keys"], shown["api_keys_file"]) == ("***", "")
    assert SECRET not in repr(omen(OMEN_API_KEYS=SECRET))


@pytest.mark.parametrize(
    ("env", "set_to", "reflects", "pause_s"),
    [
        ("development", {}, True, 0.0),
        ("production", {}, False, 5.0),
        ("production", {"reflection": True, "drain_wait_s": 0.5}, True, 0.5),
        ("development", {"reflection": False, "drain_wait_s": 2.0}, False, 2.0),
    ],
)
def test_production_is_careful_by_default(env: Any, set_to: dict[str, Any], reflects: bool, pause_s: float) -> None:
    """
    Production hides reflection and waits for load balancers, unless told otherwise; development does neither.
    """
    settings = ServerSettings(env=env, **set_to)
    assert (settings.serves_reflection, settings.drain_pause_s) == (reflects, pause_s)
