from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cryptography import x509
from cyclopts import Parameter
from cyclopts.validators import Number

from omen_cli import exits
from omen_cli.authority import CLIENT, SERVER, Issued, create_ca, files_of, host_name, hosts_of, issue, open_ca
from omen_cli.options import Output
from omen_cli.output import print_rows

LOCAL = ("localhost", "127.0.0.1", "::1")
CA_DAYS = 3650
DAYS = 365
DAYS_MAX = 36_500
COLUMNS = ("file", "names", "expires_at")

Days = Annotated[int, Parameter(validator=Number(gte=1, lte=DAYS_MAX), help="Days that they are valid.")]


def init(
    directory: Annotated[Path, Parameter(help="Where the files go; it is made if it is not there.")],
    *,
    name: Annotated[list[str] | None, Parameter(help="A name or address of a server; may be given again.")] = None,
    days: Days = DAYS,
    ca_days: Annotated[int, Parameter(validator=Number(gte=1, lte=DAYS_MAX), help="Days the CA is valid.")] = CA_DAYS,
    output: Output = "text",
) -> int:
    """
    Make a CA, a certificate for servers and one for their callers. Nothing that is there is overwritten.

    Loopback's names are always among the servers'. Keep ca.key away from the servers: only renew needs it.

    Example: omen tls init .omen/tls --name omen.internal --name 10.0.0.7
    """
    hosts = [*LOCAL, *(each for each in name or () if each not in LOCAL)]
    for host in hosts:
        check_host(host)
    if there := [str(path) for path in files_of(directory) if path.exists()]:
        raise exits.Stopped(
            exits.CONFLICT,
            "FILES_EXIST",
            f"{', '.join(there)}: there already, and not overwritten.",
            remedy=f"omen tls renew {directory} makes new certificates of the CA that is there.",
        )
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        ca = create_ca(directory, utc_now(), ca_days)
        made = pair(ca, hosts, days)
    except OSError as error:
        raise unusable(directory, error, "Give a directory that can be written.") from None
    print_rows(output, [row(each.cert_file, each.certificate) for each in (ca, *made)], COLUMNS)
    return exits.OK


def renew(
    directory: Annotated[Path, Parameter(help="Where omen tls init put the files.")],
    *,
    name: Annotated[list[str] | None, Parameter(help="Names instead of those there were; may be given again.")] = None,
    days: Days = DAYS,
    output: Output = "text",
) -> int:
    """
    Make new certificates of the CA that is there, in the place of the old ones. Servers and callers follow by
    themselves.

    Example: omen tls renew .omen/tls
    """
    try:
        ca = open_ca(directory)
        old = x509.load_pem_x509_certificate((directory / f"{SERVER}.pem").read_bytes())
        hosts = [*LOCAL, *(each for each in name if each not in LOCAL)] if name else hosts_of(old)
        for host in hosts:
            check_host(host)
        made = pair(ca, hosts, days)
    except (OSError, ValueError, TypeError) as error:
        missing = isinstance(error, FileNotFoundError)
        raise unusable(directory, error, f"omen tls init {directory} makes a CA." if missing else "") from None
    print_rows(output, [row(each.cert_file, each.certificate) for each in made], COLUMNS)
    return exits.OK


def pair(ca: Issued, hosts: list[str], days: int) -> list[Issued]:
    """
    Sign a certificate for servers and one for callers.
    """
    now = utc_now()
    return [issue(ca, SERVER, hosts, now=now, days=days), issue(ca, CLIENT, [], now=now, days=days)]


def row(path: Path, certificate: x509.Certificate) -> dict[str, object]:
    """
    Return what there is to know of a certificate.
    """
    return {
        "file": str(path),
        "key": str(path.with_suffix(".key")),
        "names": hosts_of(certificate),
        "expires_at": certificate.not_valid_after_utc.isoformat().replace("+00:00", "Z"),
    }


def check_host(host: str) -> None:
    """
    Refuse what is neither a name nor an address.
    """
    try:
        host_name(host)
    except ValueError:
        raise exits.Stopped(
            exits.USAGE, "USAGE", f"{host!r} is neither a name nor an address.", remedy="Write it in ASCII."
        ) from None


def unusable(directory: Path, error: Exception, remedy: str) -> exits.Stopped:
    """
    Make the error for a directory that cannot be written, or holds no CA.
    """
    text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else f"{directory}: {error}"
    return exits.Stopped(exits.PROBLEM, "TLS_FILES_UNUSABLE", text, remedy=remedy)


def utc_now() -> datetime:
    """
    Return the time.
    """
    return datetime.now(UTC)
