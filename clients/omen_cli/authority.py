"""
A certificate authority in a directory: a CA, and a certificate each for servers and for their callers.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA, SERVER, CLIENT = "ca", "server", "client"
# Clocks differ: what is signed now is valid for a machine that is a little behind.
BACKDATED = timedelta(minutes=10)
USAGES = {SERVER: ExtendedKeyUsageOID.SERVER_AUTH, CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH}


@dataclass(frozen=True, slots=True)
class Issued:
    """
    A certificate with its private key, and the files they lie in.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    cert_file: Path
    key_file: Path


def files_of(directory: Path) -> list[Path]:
    """
    Return every file that there may be.
    """
    return [directory / f"{name}.{kind}" for name in (CA, SERVER, CLIENT) for kind in ("pem", "key")]


def create_ca(directory: Path, now: datetime, days: int) -> Issued:
    """
    Make a CA that may sign certificates and no other CAs.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = named(f"OMEN CA {now:%Y-%m-%d}")
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        dated(x509.CertificateBuilder(), now, now + timedelta(days=days))
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return kept(directory, CA, certificate, key)


def open_ca(directory: Path) -> Issued:
    """
    Return the CA that lies in *directory*. OSError or ValueError when there is none that can be used.
    """
    cert_file, key_file = directory / f"{CA}.pem", directory / f"{CA}.key"
    key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{key_file} is no key that omen tls init has made")
    return Issued(x509.load_pem_x509_certificate(cert_file.read_bytes()), key, cert_file, key_file)


def issue(ca: Issued, name: str, hosts: Sequence[str], *, now: datetime, days: int) -> Issued:
    """
    Sign a certificate: `server`, for *hosts*, or `client`, beside its CA, which it never outlives.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    ends = min(now + timedelta(days=days), ca.certificate.not_valid_after_utc)
    builder = (
        dated(x509.CertificateBuilder(), now, ends)
        .subject_name(named(f"omen-{name}"))
        .issuer_name(ca.certificate.subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([USAGES[name]]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False)
    )
    if hosts:
        names = x509.SubjectAlternativeName([host_name(each) for each in hosts])
        builder = builder.add_extension(names, critical=False)
    return kept(ca.cert_file.parent, name, builder.sign(ca.key, hashes.SHA256()), key)


def hosts_of(certificate: x509.Certificate) -> list[str]:
    """
    Return the names and addresses that a certificate is for.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(each.value) for each in names]


def host_name(text: str) -> x509.GeneralName:
    """
    Return a name or an address as certificates have it. ValueError when it is neither.
    """
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def named(name: str) -> x509.Name:
    """
    Return a subject of one name.
    """
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def dated(builder: x509.CertificateBuilder, now: datetime, ends: datetime) -> x509.CertificateBuilder:
    """
    Begin a certificate that is valid from now on.
    """
    start = now - BACKDATED
    return builder.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(ends)


def kept(directory: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Issued:
    """
    Write a certificate and its key beside their places and put them there, the key first: whoever follows the files
    uses neither before both belong together.
    """
    cert_file, key_file = directory / f"{name}.pem", directory / f"{name}.key"
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    put(key_file, key.private_bytes(serialization.Encoding.PEM, pkcs8, plain))
    put(cert_file, certificate.public_bytes(serialization.Encoding.PEM))
    return Issued(certificate, key, cert_file, key_file)


def put(path: Path, data: bytes) -> None:
    """
    Put a file in its place, readable by its owner alone from the first moment on.
    """
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
