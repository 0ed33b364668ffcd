"""`dockerc logout`: a stored login is forgotten."""

from __future__ import annotations

from toolkit.commands import registry_options as options
from toolkit.commands.login import Registry


def logout(registry: Registry = "docker.io", authfile: options.Authfile = None) -> None:
    """Forget the logins for a registry, those that docker and podman have kept as well.

    dockerc logout quay.io
    """
    from toolkit.images.auth.stored_login import erase_login
    from toolkit.images.reference import parse_registry

    host = parse_registry(registry)
    for where in erase_login(host, authfile):
        print(f"logged out of {host}: removed from {where}")
