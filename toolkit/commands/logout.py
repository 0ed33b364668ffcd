"""`dockerc logout`: a stored login is forgotten."""

from __future__ import annotations

from toolkit.commands import registry_options as options
from toolkit.commands.login import Registry


def logout(registry: Registry = "docker.io", authfile: options.Authfile = None) -> None:
    """Remove the stored logins for a registry, those of docker and podman included.

    dockerc logout quay.io
    """
    from toolkit.images.auth.stored_login import erase_login
    from toolkit.images.reference import parse_registry

    host = parse_registry(registry)
    for where in erase_login(host, authfile):
        print(f"logged out of {host}: removed from {where}")
