"""Registries that speak TLS: whom to trust, with what certificate, and through which proxy."""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from false_server import Answer
from images_support import (
    FIXTURE,
    Layout,
    LyingRegistry,
    answer,
    docker_registry,
    lying_registry,
    read_image,
    run,
    skopeo_copy,
)
from registry_support import Authority, conf, relay

from toolkit.errors import DockercError
from toolkit.images.auth.access import Access

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def tls_registry(layout: Layout, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A registry with a self-signed certificate for localhost, and that certificate."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    run(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
        "-keyout", key, "-out", certificate,
    )  # fmt: skip
    layout.write(layout.manifest())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with lying_registry(layout.path, context) as registry:
        yield f"localhost:{registry.address.rpartition(':')[2]}", certificate


def test_untrusted_certificate(tls_registry: tuple[str, Path]) -> None:
    with pytest.raises(
        DockercError, match=r"certificate of localhost:.* is not trusted: self.signed"
    ):
        read_image(f"{tls_registry[0]}/app")


def test_trusted_certificate(
    tls_registry: tuple[str, Path], layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls_registry[1]))
    assert read_image(f"{tls_registry[0]}/app") == read_image(f"oci:{layout.path}")
    port = tls_registry[0].rpartition(":")[2]
    with pytest.raises(DockercError, match=r"is not trusted: .*IP address mismatch"):
        read_image(f"127.0.0.1:{port}/app")


# Certificates


@pytest.fixture
def tls(layout: Layout, authority: Authority) -> Iterator[LyingRegistry]:
    with lying_registry(layout.path, authority.server_tls("false-registry")) as registry:
        yield registry


def test_certificates_per_host(
    tls: LyingRegistry, home: Path, authority: Authority, layout: Layout
) -> None:
    expected = read_image(f"oci:{layout.path}")
    name = f"{tls.address}/app"
    with pytest.raises(DockercError, match=r"is not trusted: .*--cert-dir"):
        read_image(name)
    assert read_image(name, access=Access(certificates=authority.directory)) == expected
    for place in (home / "certs.d", home / ".config" / "containers" / "certs.d"):
        shutil.copytree(authority.directory, place / tls.address)
        assert read_image(name) == expected
        shutil.move(place / tls.address, place / "localhost:1")
        with pytest.raises(DockercError, match="is not trusted"):
            read_image(name)


def test_certificates_that_cannot_be_used(tls: LyingRegistry, home: Path) -> None:
    name = f"{tls.address}/app"
    with pytest.raises(DockercError, match="is not a directory of certificates"):
        read_image(name, access=Access(certificates=home / "none"))
    (home / "x.crt").write_text("no certificate")
    with pytest.raises(DockercError, match=r"cannot use the certificate .*x\.crt"):
        read_image(name, access=Access(certificates=home))
    (home / "x.crt").rename(home / "x.cert")
    with pytest.raises(DockercError, match=r"cannot use the certificate .*x\.cert with x\.key"):
        read_image(name, access=Access(certificates=home))


def test_no_verification(tls: LyingRegistry, home: Path, layout: Layout) -> None:
    expected = read_image(f"oci:{layout.path}")
    assert read_image(f"{tls.address}/app", access=Access(tls_verify=False)) == expected
    conf(home, f'[[registry]]\nlocation = "{tls.address}"\ninsecure = true\n')
    assert read_image(f"{tls.address}/app") == expected
    with pytest.raises(DockercError, match="is not trusted"):
        read_image(f"{tls.address}/app", access=Access(tls_verify=True))


def test_no_verification_is_not_undone_by_the_environment(
    tls: LyingRegistry, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """requests lets REQUESTS_CA_BUNDLE win over a session's verify=False."""
    monkeypatch.setattr("toolkit.images.transports.registry.client._is_local", lambda host: False)
    monkeypatch.setenv("no_proxy", "*")
    other = Authority(authority.directory.parent / "other").certificate
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))
    assert read_image(f"{tls.address}/app", access=Access(tls_verify=False))


def test_http_is_not_tried_elsewhere(liar: LyingRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolkit.images.transports.registry.client._is_local", lambda host: False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(DockercError, match=r"does not speak TLS .*for localhost"):
        read_image(f"{liar.address}/app")
    assert liar.requests == []


def test_plain_http_elsewhere_only_when_allowed(
    liar: LyingRegistry, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolkit.images.transports.registry.client._is_local", lambda host: False)
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DockercError, match="--no-tls-verify"):
        read_image(f"{liar.address}/app")
    assert liar.requests == []
    assert read_image(f"{liar.address}/app", access=Access(tls_verify=False))
    conf(home, f'[[registry]]\nlocation = "{liar.address}"\ninsecure = true\n')
    assert read_image(f"{liar.address}/app")


def test_plain_http_on_this_machine_not_when_tls_is_asked_for(liar: LyingRegistry) -> None:
    with pytest.raises(DockercError, match="does not speak TLS"):
        read_image(f"{liar.address}/app", access=Access(tls_verify=True))
    assert liar.requests == []


def test_certificate_of_our_own(
    tmp_path: Path, authority: Authority, layout: Layout, tls: LyingRegistry
) -> None:
    """A real registry that wants one, and a storage host that must not see it."""
    certificate, key = authority.issue("server")
    ours = tmp_path / "ours"
    shutil.copytree(authority.directory, ours)
    for file, name in zip(authority.issue("anna"), ("client.cert", "client.key"), strict=True):
        shutil.copy(file, ours / name)
    settings = (
        f"tls: {{certificate: {certificate}, key: {key}, clientcas: [{authority.certificate}]}}"
    )
    with docker_registry(tmp_path, settings) as address:
        target = f"docker://{address}/app:1"
        skopeo_copy(f"oci:{FIXTURE}", target, "--all", "--dest-cert-dir", str(ours))
        assert read_image(target, access=Access(certificates=ours)) == read_image(f"oci:{FIXTURE}")
        with pytest.raises(DockercError, match="wants another certificate of ours"):
            read_image(target, access=Access(certificates=authority.directory))


def test_certificate_of_our_own_is_not_shown_elsewhere(
    tmp_path: Path, authority: Authority, layout: Layout
) -> None:
    for file, name in zip(authority.issue("anna"), ("client.cert", "client.key"), strict=True):
        shutil.copy(file, tmp_path / name)
    shutil.copy(authority.certificate, tmp_path)
    path = "/v2/app/manifests/latest"
    with (
        lying_registry(layout.path, asking(authority, "registry")) as registry,
        lying_registry(layout.path, asking(authority, "storage")) as storage,
    ):
        shown = []

        def watched(server: LyingRegistry, reply: Answer) -> Answer:
            def send(request: BaseHTTPRequestHandler) -> None:
                assert isinstance(request.connection, ssl.SSLSocket)
                shown.append((server, bool(request.connection.getpeercert())))
                reply(request)

            return send

        target = f"https://localhost:{storage.address.rpartition(':')[2]}{path}"
        registry.answers[path] = watched(registry, answer(307, b"", {"Location": target}))
        storage.answers[path] = watched(storage, storage._serve)
        read_image(f"{registry.address}/app", access=Access(certificates=tmp_path))
        assert shown == [(registry, True), (storage, False)]


def asking(authority: Authority, name: str) -> ssl.SSLContext:
    """A server's TLS that takes a client's certificate where it is shown."""
    context = authority.server_tls(name)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(authority.certificate)
    return context


# Proxies


@contextmanager
def proxy(target: str) -> Iterator[tuple[str, list[str]]]:
    """Takes CONNECT for any host and joins it to `target`. Yields its address, and the hosts."""
    asked: list[str] = []
    host, _, port = target.rpartition(":")

    def connect(client: socket.socket) -> socket.socket:
        request = client.recv(1 << 16).decode()
        asked.append(request.split()[1])
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        return socket.create_connection((host, int(port)))

    with relay(connect) as own:
        yield f"http://127.0.0.1:{own}", asked


def test_proxy_of_the_environment(
    tls: LyingRegistry, authority: Authority, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tunnel trusts what the certificate directory says too."""
    monkeypatch.setattr("toolkit.images.transports.registry.client._is_local", lambda host: False)
    port = tls.address.rpartition(":")[2]
    access = Access(certificates=authority.directory)
    with proxy(tls.address) as (address, asked):
        monkeypatch.setenv("https_proxy", address)
        assert read_image(f"localhost:{port}/app", access=access) == read_image(
            f"oci:{layout.path}"
        )
        assert set(asked) == {f"localhost:{port}"}
        asked.clear()
        monkeypatch.setenv("no_proxy", "localhost")
        assert read_image(f"localhost:{port}/app", access=access)
        assert asked == []


def test_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://user:secret@127.0.0.1:9")
    with pytest.raises(DockercError, match=r"the proxy for registry\.invalid cannot") as caught:
        read_image("registry.invalid/app")
    assert "secret" not in str(caught.value)
