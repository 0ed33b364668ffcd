"""Whom to trust: the system's authorities, and what lies in a registry's certificate directory.

Such a directory holds authorities as `*.crt` and this client's own certificates as `*.cert` with
a `*.key` of the same stem (containers-certs.d(5), docker's "Verify repository client with
certificates").
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import AbsentError, DockercError
from toolkit.images.auth.access import Access

_SYSTEM = (Path("/etc/containers/certs.d"), Path("/etc/docker/certs.d"))


@dataclass(frozen=True)
class Trust:
    """TLS for the hosts that a registry sends us to, and for the registry itself.

    The second alone shows our own certificate: no other host is to learn who we are.
    """

    anywhere: ssl.SSLContext
    registry: ssl.SSLContext


def load_trust(host: str, access: Access, is_verified: bool) -> Trust:
    """Raises DockercError when a certificate cannot be used."""
    directory = _directory(host, access)
    if directory is None:
        context = _context(None, is_verified)
        return Trust(context, context)
    anywhere, registry = _context(directory, is_verified), _context(directory, is_verified)
    for certificate in sorted(directory.glob("*.cert")):
        key = certificate.with_suffix(".key")
        try:
            registry.load_cert_chain(certificate, key)
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            raise DockercError(
                f"cannot use the certificate {certificate} with {key.name}: "
                f"{error.strerror if isinstance(error, OSError) else error}"
            ) from None
    return Trust(anywhere, registry)


def _directory(host: str, access: Access) -> Path | None:
    if access.certificates:
        if not access.certificates.is_dir():
            raise AbsentError(f"{access.certificates} is not a directory of certificates")
        return access.certificates
    user = Path.home() / ".config" / "containers" / "certs.d"
    for directory in (user, *_SYSTEM):
        if (directory / host).is_dir():
            return directory / host
    return None


def _context(directory: Path | None, is_verified: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not is_verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for authority in sorted(directory.glob("*.crt")) if directory else ():
        try:
            context.load_verify_locations(authority)
        except OSError as error:
            raise DockercError(
                f"cannot use the certificate {authority}: {error.strerror or error}"
            ) from None
    return context
