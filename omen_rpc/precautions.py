"""
What a server refuses to start with, because it would be careless: anywhere, and in production.
"""

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from omen_rpc.address import Address, AddressRefused, parse_address
from omen_rpc.settings import ServerSettings, SettingsRefused, flag
from omen_rpc.tls import ServerFiles

# Settings that not every server has: whom it calls, and what nobody else on the machine may read.
PEERS = ("omen", "riskcast")
SECRET_FILES = ("tls_key", "api_keys_file", "tls_client_key", "omen_api_key_file", "riskcast_api_key_file")


def check_security(settings: ServerSettings, address: Address) -> ServerFiles | None:
    """
    Return the certificate's files, None for plain text; SettingsRefused when that would be careless.
    """
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise SettingsRefused("--tls-cert and --tls-key belong together: give both, or neither.")
    if settings.tls_client_ca is not None and settings.tls_cert is None:
        raise SettingsRefused(
            "--tls-client-ca needs --tls-cert and --tls-key: callers show certificates over TLS only."
        )
    if settings.tls_cert is None and not address.is_loopback and not settings.insecure:
        raise SettingsRefused(
            f"{address} is not loopback, and there is no TLS. Add --tls-cert FILE --tls-key FILE, "
            f"or --insecure if the network is your own."
        )
    refuse_unsafe(settings, [*unsafe_serving(settings, address), *unsafe_calling(settings)])
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return ServerFiles(settings.tls_cert, settings.tls_key, settings.tls_client_ca)


def check_calling(settings: ServerSettings) -> None:
    """
    Raise SettingsRefused when calling others as *settings* say would be careless; for who calls and does not serve.
    """
    refuse_unsafe(settings, list(unsafe_calling(settings)))


def refuse_unsafe(settings: ServerSettings, sentences: Sequence[str]) -> None:
    """
    Raise SettingsRefused with all of *sentences* in production.
    """
    if settings.env == "production" and sentences:
        raise SettingsRefused("\n".join(sentences))


def unsafe_serving(settings: ServerSettings, address: Address) -> Iterator[str]:
    """
    Yield a sentence for everything about serving that production does not put up with.
    """
    if settings.api_keys is None and settings.api_keys_file is None:
        yield "production wants API keys. Add --api-keys-file FILE, or set OMEN_SECURITY_API_KEYS."
    if settings.tls_cert is None and not address.is_loopback:
        yield f"production does not serve {address} in plain text. Add --tls-cert FILE --tls-key FILE."


def unsafe_calling(settings: ServerSettings) -> Iterator[str]:
    """
    Yield a sentence for everything about calls to others, and about files, that production does not put up with.
    """
    secure = getattr(settings, "tls_ca", None) is not None or getattr(settings, "tls_client_cert", None) is not None
    for name in PEERS:
        peer: str = getattr(settings, name, "")
        if peer and not secure and not is_near(peer):
            yield f"production does not call {peer} in plain text. Add --tls-ca FILE beside {flag(name)}."
    for name in SECRET_FILES:
        path: Path | None = getattr(settings, name, None)
        if path is not None and is_open_to_all(path):
            yield f"production wants {flag(name)} unreadable to others: chmod o-rwx {path}."


def is_near(peer: str) -> bool:
    """
    Whether calls to *peer* stay on this machine, for all that its address says.
    """
    try:
        return parse_address(peer).is_loopback
    except AddressRefused:
        return False


def is_open_to_all(path: Path) -> bool:
    """
    Whether everybody on the machine may read or write a file. One that is not there is somebody else's to refuse.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & (stat.S_IROTH | stat.S_IWOTH))
