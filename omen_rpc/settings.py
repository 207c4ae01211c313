"""
Settings of a server: flags over environment over the TOML file over defaults, each value with where it came from.

A setting is a field of a model and nothing else: flag, variable, help text, check and reference all come from it. This
module is the only one that reads the environment.
"""

import argparse
import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo

Settings = TypeVar("Settings", bound="ProgramSettings")
Settings_co = TypeVar("Settings_co", bound="ProgramSettings", covariant=True)
SHARED_PREFIX = "OMEN"
STARS = "***"
URL_PASSWORD = re.compile(r"(?<=://)([^:/?#@]*):.*(?=@)|(?<=password=)[^&\s]*")


class SettingsRefused(Exception):
    """
    Settings that a server does not start with; the text says which one, where it was set, and what it must be.
    """


class ProgramSettings(BaseModel):
    """
    What every program that serves can be told, whatever it speaks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least that is logged.")
    traces: Literal["off", "otlp"] = Field(
        "off", description="Where spans go; otlp needs the extra otel, the OTEL_EXPORTER_OTLP_… variables say the rest."
    )
    log_format: Literal["auto", "json", "text"] = Field("auto", description="auto is text on a terminal, else JSON.")


class ServerSettings(ProgramSettings):
    """
    What every server can be told.
    """

    listen: str = Field("127.0.0.1:50051", description="Address to serve on: HOST:PORT, [V6]:PORT or unix:PATH.")
    metrics_port: int = Field(9051, ge=0, le=65535, description="Port of /metrics, /livez and /readyz; 0 picks one.")
    env: Literal["development", "production"] = Field(
        "development",
        description="production refuses what is unsafe, waits for load balancers, hides reflection.",
        json_schema_extra={"variables": ["OMEN_ENV"]},
    )
    insecure: bool = Field(default=False, description="Serve without TLS on an address that is not loopback.")
    tls_cert: Path | None = Field(None, description="The server's certificate chain, PEM. Read again when it changes.")
    tls_key: Path | None = Field(None, description="The certificate's private key, PEM.")
    tls_client_ca: Path | None = Field(None, description="Callers must show a certificate of this CA, PEM.")
    api_keys: SecretStr | None = Field(
        None,
        description="Keys callers may use, name:scope[,scope]:key each. In the environment or the file only.",
        json_schema_extra={"variables": ["OMEN_SECURITY_API_KEYS"], "flag": False},
    )
    api_keys_file: Path | None = Field(
        None,
        description="A file of such keys, one a line. Read again when it changes.",
        json_schema_extra={"variables": ["OMEN_SECURITY_API_KEYS_FILE"]},
    )
    reflection: bool | None = Field(None, description="Describe the services to tools; on in development by default.")
    rate_limit_per_minute: int = Field(
        0,
        ge=0,
        le=1_000_000_000,
        description="Signals (or other calls) a caller may send a minute; 0 is no limit.",
        json_schema_extra={"variables": ["RATE_LIMIT_REQUESTS_PER_MINUTE"]},
    )
    rate_limit_burst: int = Field(1000, ge=1, le=1_000_000, description="How many of them at once.")
    ingest_calls_max: int = Field(300, ge=1, le=10_000, description="Short writing calls answered at once.")
    query_calls_max: int = Field(200, ge=1, le=10_000, description="Reading calls answered at once.")
    subscribe_calls_max: int = Field(250, ge=1, le=10_000, description="Open streams of signals at once.")
    probe_calls_max: int = Field(100, ge=1, le=10_000, description="Health and reflection calls at once.")
    bodies_awaited_max: int = Field(100, ge=1, le=10_000, description="Calls whose message may still be on its way.")
    connections_max: int = Field(1000, ge=1, le=100_000, description="Connections at once.")
    streams_per_connection_max: int = Field(100, ge=1, le=10_000, description="Calls at once on one connection.")
    message_bytes_max: int = Field(1 << 20, ge=1 << 16, le=1 << 24, description="The largest request.")
    body_timeout_s: float = Field(10.0, gt=0, le=600, description="How long a call's message may be on its way.")
    write_timeout_s: float = Field(30.0, gt=0, le=600, description="How long a stream's reader may take nothing.")
    handshake_timeout_s: float = Field(10.0, gt=0, le=600, description="How long a new connection may say nothing.")
    connection_idle_s: float = Field(900.0, gt=0, le=86_400, description="When a connection without calls is closed.")
    connection_age_s: float = Field(1800.0, gt=0, le=86_400, description="When a connection is asked to start anew.")
    connection_age_grace_s: float = Field(60.0, gt=0, le=3600, description="How long its calls may go on then.")
    keepalive_interval_s: float = Field(30.0, ge=1, le=3600, description="Silence before a peer is asked if it lives.")
    keepalive_timeout_s: float = Field(10.0, gt=0, le=600, description="How long it may take to say so.")
    drain_wait_s: float | None = Field(
        None, ge=0, le=600, description="Seconds between NOT_SERVING and closing; 5 in production, else 0."
    )
    drain_timeout_s: float = Field(30.0, gt=0, le=600, description="How long calls may finish when stopping.")
    notify_socket: str = Field(
        "",
        description="The service manager's socket, told of start, life and end. systemd sets it.",
        json_schema_extra={"variables": ["NOTIFY_SOCKET"]},
    )
    watchdog_usec: int = Field(
        0,
        ge=0,
        description="How long the manager waits for a sign of life; 0 is for ever. systemd sets it.",
        json_schema_extra={"variables": ["WATCHDOG_USEC"]},
    )

    @property
    def serves_reflection(self) -> bool:
        """
        Whether services are described to tools.
        """
        return self.env == "development" if self.reflection is None else self.reflection

    @property
    def drain_pause_s(self) -> float:
        """
        How long load balancers get to see that the server is going.
        """
        if self.drain_wait_s is not None:
            return self.drain_wait_s
        return 5.0 if self.env == "production" else 0.0


@dataclass(frozen=True, slots=True)
class Program:
    """
    A server's name on the command line and in the environment.
    """

    name: str
    prefix: str
    summary: str
    table: str


@dataclass(frozen=True, slots=True)
class Setting:
    """
    One value in force, safe to show.
    """

    name: str
    value: str
    source: str
    set_by: str


@dataclass(frozen=True, slots=True)
class Loaded(Generic[Settings_co]):
    """
    Settings and where each came from.
    """

    settings: Settings_co
    origins: Mapping[str, tuple[str, str]]

    def shown(self) -> list[Setting]:
        """
        Return every setting in force, secrets starred.
        """
        shown = []
        for name in type(self.settings).model_fields:
            value = getattr(self.settings, name)
            text = "" if value is None else STARS if isinstance(value, SecretStr) else without_password(str(value))
            source, set_by = self.origins.get(name, ("default", ""))
            shown.append(Setting(name, text, source, set_by))
        return shown


def load(
    model: type[Settings], program: Program, arguments: Sequence[str], environment: Mapping[str, str]
) -> Loaded[Settings]:
    """
    Return the settings of *program*. SettingsRefused when one of them cannot be; SystemExit for --help and usage.
    """
    known, unknown = parser(model, program).parse_known_args(arguments)
    if unknown:
        raise SettingsRefused(explain_unknown(model, program, unknown))
    flags = {name: value for name, value in vars(known).items() if value is not None}
    file = flags.pop("config", None) or environment.get(f"{program.prefix}_CONFIG")
    values: dict[str, Any] = {}
    origins: dict[str, tuple[str, str]] = {}
    for name, value in read_file(model, program, Path(file)).items() if file else ():
        values[name], origins[name] = value, ("file", f"{file}: {name}")
    for name, field in model.model_fields.items():
        for variable in variables(program, name, field):
            if environment.get(variable, "") != "":
                values[name], origins[name] = environment[variable], ("environment", variable)
                break
    for name, value in flags.items():
        values[name], origins[name] = value, ("flag", flag(name))
    try:
        return Loaded(model.model_validate(values), origins)
    except ValidationError as error:
        raise SettingsRefused(explain(error, origins)) from None


def explain_unknown(model: type[ProgramSettings], program: Program, arguments: Sequence[str]) -> str:
    """
    Return what is wrong with arguments that are none: their names alone, as a value may be a secret.
    """
    names = [argument.partition("=")[0] for argument in arguments if argument.startswith("-")]
    if not names:
        return f"there is an argument without a flag. {program.name} --help lists what there is."
    secret = model.model_fields.get(names[0].removeprefix("--").replace("-", "_"))
    if secret is not None:
        variable = variables(program, names[0].removeprefix("--").replace("-", "_"), secret)[0]
        return f"{names[0]} is no flag, since every process can read a command line. Set {variable} instead."
    near = difflib.get_close_matches(names[0], [flag(name) for name in model.model_fields], 1)
    hint = f"Did you mean {near[0]}?" if near else f"{program.name} --help lists what there is."
    return f"{names[0]} is no flag of {program.name}. {hint}"


def variables(program: Program, name: str, field: FieldInfo) -> list[str]:
    """
    Return the environment variables that set a field, the program's own first.
    """
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    names = [f"{program.prefix}_{name.upper()}"]
    for shared in extra.get("variables", []):  # type: ignore[union-attr]
        own = str(shared).replace(f"{SHARED_PREFIX}_", f"{program.prefix}_", 1)
        names.extend(variable for variable in (own, str(shared)) if variable not in names)
    return names


def flag(name: str) -> str:
    """
    Return the flag that sets a field.
    """
    return "--" + name.replace("_", "-")


def has_flag(field: FieldInfo) -> bool:
    """
    Whether a field can be set on the command line; a secret cannot, since every process can read that line.
    """
    return not (isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("flag") is False)


def without_password(value: str) -> str:
    """
    Return *value* with the password starred that a database's URL may carry.
    """
    return URL_PASSWORD.sub(lambda found: STARS if found[1] is None else f"{found[1]}:{STARS}", value)


class Line(argparse.ArgumentParser):
    """
    A command line whose errors are one sentence, like those of every other source.
    """

    def error(self, message: str) -> NoReturn:
        """
        Refuse the line.
        """
        raise SettingsRefused(f"{message}. {self.prog} --help lists what there is.")


def parser(model: type[ProgramSettings], program: Program) -> argparse.ArgumentParser:
    """
    Return the parser of *program*'s command line. It checks nothing but names: the model checks values.
    """
    line = Line(
        prog=program.name,
        description=program.summary,
        epilog="Flags win over environment variables, those over the file given with --config, the file over defaults.",
        allow_abbrev=False,
    )
    line.add_argument("--config", metavar="FILE", help=f"A TOML file of settings. [{program.prefix}_CONFIG]")
    for name, field in model.model_fields.items():
        if not has_flag(field):
            line.epilog = f"{line.epilog} {variables(program, name, field)[0]} has no flag: {field.description}"
            continue
        default = "" if field.default is None else f" Default: {field.default}."
        text = f"{field.description}{default} [{variables(program, name, field)[0]}]".replace("%", "%%")
        if field.annotation in {bool, bool | None}:
            line.add_argument(flag(name), action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            line.add_argument(flag(name), metavar="VALUE", default=None, help=text)
    return line


def read_file(model: type[ProgramSettings], program: Program, path: Path) -> dict[str, Any]:
    """
    Return what a TOML file sets for *program*: top-level keys, and over them those of the program's own table.
    """
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingsRefused(f"{path}: {error.strerror}. Give --config a file that can be read.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsRefused(f"{path}: not TOML: {error}") from None
    values = {key: value for key, value in content.items() if not isinstance(value, dict)}
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    values.update(tables.pop(program.table, {}))
    if near := difflib.get_close_matches(program.table, tables, 1):
        raise SettingsRefused(f"{path}: [{near[0]}] is nobody's table. Did you mean [{program.table}]?")
    for name in values:
        if name not in model.model_fields:
            near = difflib.get_close_matches(name, model.model_fields, 1)
            hint = f" Did you mean {near[0]}?" if near else f" {program.name} --help lists what there is."
            raise SettingsRefused(f"{path}: {name} is no setting of {program.name}.{hint}")
    return values


def explain(error: ValidationError, origins: Mapping[str, tuple[str, str]]) -> str:
    """
    Return what is wrong with which setting, and where it was set; never the value of a secret.
    """
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        name = str(problem["loc"][0]) if problem["loc"] else "settings"
        source, set_by = origins.get(name, ("default", ""))
        lines.append(f"{set_by or name} ({source}): {problem['msg']}")
    return "\n".join(lines)
