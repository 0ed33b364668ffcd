"""registries.conf, certificate directories, TLS options and proxies."""

from __future__ import annotations

import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from images_support import (
    FIXTURE,
    Answer,
    Layout,
    LyingRegistry,
    answer,
    docker_registry,
    isolate,
    lying_registry,
    on,
    read_image,
    skopeo_copy,
)
from registry_support import Authority

from toolkit.errors import DockercError, UsageError
from toolkit.images.access import Access, Credentials
from toolkit.images.reference import RegistryReference, parse_reference
from toolkit.images.registries_conf import load_registries_conf

SHA = "sha256:" + "0a" * 32


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    isolate(monkeypatch, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "layout")
    layout.write(layout.index(on(layout.manifest(), "amd64")))
    return layout


@pytest.fixture
def liar(layout: Layout) -> Iterator[LyingRegistry]:
    with lying_registry(layout.path) as registry:
        yield registry


def conf(home: Path, text: str, name: str = "registries.conf") -> Path:
    path = home / ".config" / "containers" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def registry_name(text: str) -> RegistryReference:
    reference = parse_reference(text)
    assert isinstance(reference, RegistryReference)
    return reference


def endpoints(text: str) -> list[str]:
    """Where an image is looked for; `!` marks what is insecure."""
    found = load_registries_conf().endpoints(registry_name(text))
    return [f"{'!' if e.insecure else ''}{e.reference}".replace("docker://", "") for e in found]


def long_names(text: str) -> list[str]:
    return [str(name) for name in load_registries_conf().long_names(registry_name(text))]


# What the files say


def test_without_files() -> None:
    assert endpoints("q.io/a:1") == ["q.io/a:1"]
    assert long_names("a") == ["docker://docker.io/library/a:latest"]


def test_longest_prefix_decides(home: Path) -> None:
    conf(
        home,
        """
        [[registry]]
        location = "q.io"
        insecure = true
        [[registry]]
        prefix = "q.io/team"
        location = "internal:5000/mirrored/team"
        [[registry]]
        prefix = "q.io/team/app:2"
        location = "other.io/app:3"
        [[registry]]
        prefix = "*.example.com"
        location = "wild.io/x"
        [[registry]]
        prefix = "*.insecure.org"
        insecure = true
        """,
    )
    assert endpoints("q.io/else:1") == ["!q.io/else:1"]
    assert endpoints("q.io/team/app:1") == ["internal:5000/mirrored/team/app:1"]
    assert endpoints(f"q.io/team/app@{SHA}") == [f"internal:5000/mirrored/team/app@{SHA}"]
    assert endpoints("q.io/team/app:2") == ["other.io/app:3"]
    assert endpoints("q.io/teams/app:1") == ["!q.io/teams/app:1"]
    assert endpoints("q.io:443/team/app:1") == ["q.io:443/team/app:1"]
    assert endpoints("a.b.example.com/app:1") == ["wild.io/x/app:1"]
    assert endpoints("example.com/app:1") == ["example.com/app:1"]
    assert endpoints("a.insecure.org/app:1") == ["!a.insecure.org/app:1"]


def test_mirrors_come_first_each_for_its_kind_of_name(home: Path) -> None:
    conf(
        home,
        """
        [[registry]]
        location = "q.io"
        [[registry.mirror]]
        location = "all.io/q"
        insecure = true
        [[registry.mirror]]
        location = "digests.io"
        pull-from-mirror = "digest-only"
        [[registry.mirror]]
        location = "tags.io"
        pull-from-mirror = "tag-only"
        [[registry]]
        location = "r.io"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "m.io"
        """,
    )
    assert endpoints("q.io/a:1") == ["!all.io/q/a:1", "tags.io/a:1", "q.io/a:1"]
    by_digest = [f"!all.io/q/a@{SHA}", f"digests.io/a@{SHA}", f"q.io/a@{SHA}"]
    assert endpoints(f"q.io/a@{SHA}") == by_digest
    assert endpoints("r.io/a:1") == ["r.io/a:1"]
    assert endpoints(f"r.io/a@{SHA}") == [f"m.io/a@{SHA}", f"r.io/a@{SHA}"]


def test_blocked(home: Path) -> None:
    path = conf(home, '[[registry]]\nlocation = "q.io"\nblocked = true\n')
    with pytest.raises(DockercError, match=f"docker://q.io/a:1 is blocked by {path}"):
        endpoints("q.io/a:1")
    with pytest.raises(DockercError, match="is blocked by"):
        read_image("q.io/a:1")


def test_files_in_their_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def to(location: str) -> str:
        return f'[[registry]]\nprefix = "q.io"\nlocation = "{location}"\n'

    (home / "system" / "registries.conf.d").mkdir(parents=True)
    (home / "system" / "registries.conf").write_text(to("system.io"))
    assert endpoints("q.io/a:1") == ["system.io/a:1"]
    conf(home, to("user.io"))
    assert endpoints("q.io/a:1") == ["user.io/a:1"]
    chosen = home / "chosen.conf"
    chosen.write_text(to("chosen.io"))
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(chosen))
    assert endpoints("q.io/a:1") == ["chosen.io/a:1"]
    (home / "system" / "registries.conf.d" / "9.conf").write_text(to("nine.io"))
    assert endpoints("q.io/a:1") == ["nine.io/a:1"]
    conf(home, to("one.io"), "registries.conf.d/1.conf")
    assert endpoints("q.io/a:1") == ["one.io/a:1"]
    conf(home, to("last.io"), "registries.conf.d/2.conf")
    conf(home, "[", "registries.conf.d/2.txt")
    assert endpoints("q.io/a:1") == ["last.io/a:1"]
    chosen.unlink()
    with pytest.raises(DockercError, match="CONTAINERS_REGISTRIES_CONF names"):
        endpoints("q.io/a:1")


def test_short_names(home: Path) -> None:
    conf(
        home,
        """
        unqualified-search-registries = ["one.io", "docker.io"]
        [aliases]
        "debian" = "r.io/os/debian"
        "team/app" = "s.io/app"
        "gone" = "t.io/gone"
        """,
    )
    conf(home, '[aliases]\ngone = ""\n', "registries.conf.d/1.conf")
    assert long_names("debian:12") == ["docker://r.io/os/debian:12"]
    assert long_names(f"team/app@{SHA}") == [f"docker://s.io/app@{SHA}"]
    assert long_names("gone") == [
        "docker://one.io/gone:latest",
        "docker://docker.io/library/gone:latest",
    ]
    for full in ("docker://debian:12", "docker.io/debian:12", "docker.io/library/debian:12"):
        assert long_names(full) == ["docker://docker.io/library/debian:12"]
    conf(home, 'short-name-mode = "enforcing"\n', "registries.conf.d/2.conf")
    assert long_names("debian:12") == ["docker://r.io/os/debian:12"]
    with pytest.raises(UsageError, match=r"'gone' may be in any of one.io, docker.io"):
        long_names("gone")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[", "is not valid TOML"),
        ("registry = 3", "'registry' must be a list"),
        ('[[registry]]\ninsecure = "yes"\nlocation = "q.io"', "'insecure' must be true or false"),
        ("[[registry]]\ninsecure = true", "without prefix or location"),
        ('[registries.search]\nregistries = ["q.io"]', "version 1"),
        ('[[registry]]\nprefix = "q.io"\nlocation = "A B"', "'A B/a:1', which is no image name"),
        ('[[registry]]\nlocation = "q.io"\n[[registry.mirror]]\npull-from-mirror = "x"', "= 'x'"),
        ('[[registry]]\nlocation = "q.io"\n[[registry.mirror]]\n', "no image name"),
    ],
)
def test_malformed_files(home: Path, text: str, sentence: str) -> None:
    path = conf(home, text)
    with pytest.raises(DockercError, match=sentence) as caught:
        endpoints("q.io/a:1")
    assert str(path) in str(caught.value)


_parts = st.sampled_from(
    ["[[registry]]\n", "[[registry.mirror]]\n", "[aliases]\n", "prefix", "location", "a", " = ",
     '"q.io"\n', '"q.io/a"\n', '"*.io"\n', '"*"\n', '""\n', "true\n", "insecure", "3\n", "\n"]
)  # fmt: skip


@given(st.lists(_parts, max_size=12).map("".join))
def test_any_file_is_read_or_gives_a_sentence(tmp_path_factory: object, text: str) -> None:
    assert isinstance(tmp_path_factory, pytest.TempPathFactory)
    path = tmp_path_factory.getbasetemp() / "any.conf"
    path.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_REGISTRIES_CONF", str(path))
        for name in ("q.io/a:1", "a", "x.io/a/b:1"):
            try:
                for long in load_registries_conf().long_names(registry_name(name)):
                    load_registries_conf().endpoints(long)
            except DockercError:
                pass


# Mirrors and search registries that answer


def mirrored(home: Path, *mirrors: str, primary: str) -> None:
    tables = [f'[[registry.mirror]]\nlocation = "{mirror}"\n' for mirror in mirrors]
    conf(home, f'[[registry]]\nprefix = "q.io"\nlocation = "{primary}"\n' + "".join(tables))


def test_first_mirror_that_has_the_image_gives_it(
    home: Path, layout: Layout, liar: LyingRegistry
) -> None:
    with lying_registry(layout.path) as dead, lying_registry(layout.path) as primary:
        dead.answers["/v2/app/manifests/latest"] = answer(403)
        mirrored(home, dead.address, liar.address, primary=primary.address)
        expected = read_image(f"oci:{layout.path}")
        access = Access(Credentials("u", "p"))
        assert read_image("q.io/app", access=access) == expected
        assert len(dead.requests) == 1 and not primary.requests
        liar.answers["/v2/app/manifests/latest"] = answer(404)
        assert read_image("q.io/app") == expected
        primary.answers["/v2/app/manifests/latest"] = answer(404)
        sentence = rf"{primary.address} has no image .*tried before: .*{dead.address}.*"
        with pytest.raises(DockercError, match=sentence + liar.address):
            read_image("q.io/app")


def test_given_login_is_not_shown_to_a_mirror(
    home: Path, layout: Layout, liar: LyingRegistry
) -> None:
    def closed(request: BaseHTTPRequestHandler) -> None:
        answer(401, b"{}", {"WWW-Authenticate": 'Basic realm="x"'})(request)

    with lying_registry(layout.path) as primary:
        liar.answers["/v2/app/manifests/latest"] = closed
        primary.answers["/v2/app/manifests/latest"] = closed
        mirrored(home, liar.address, primary=primary.address)
        with pytest.raises(DockercError, match="refuses the login of 'u'"):
            read_image("q.io/app", access=Access(Credentials("u", "p")))
        assert {header for _, header in liar.requests} == {None}
        assert [header for _, header in primary.requests] == [None, "Basic dTpw"]


def test_search_registries_in_turn(home: Path, layout: Layout, liar: LyingRegistry) -> None:
    with lying_registry(layout.path) as second:
        conf(home, f"unqualified-search-registries = {[liar.address, second.address]!r}\n")
        liar.answers["/v2/app/manifests/latest"] = answer(404)
        assert read_image("app") == read_image(f"oci:{layout.path}")
        assert liar.requests and second.requests


# Certificates


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


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
    monkeypatch.setattr("toolkit.images.registry_client._is_local", lambda host: False)
    monkeypatch.setenv("no_proxy", "*")
    other = Authority(authority.directory.parent / "other").certificate
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))
    assert read_image(f"{tls.address}/app", access=Access(tls_verify=False))


def test_plain_http_elsewhere_only_when_allowed(
    liar: LyingRegistry, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolkit.images.registry_client._is_local", lambda host: False)
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
    with socket.create_server(("127.0.0.1", 0)) as server:

        def pump(source: socket.socket, sink: socket.socket) -> None:
            try:
                while data := source.recv(1 << 16):
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        def serve() -> None:
            while True:
                try:
                    client = server.accept()[0]
                except OSError:
                    return
                request = client.recv(1 << 16).decode()
                asked.append(request.split()[1])
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                upstream = socket.create_connection((host, int(port)))
                for ends in ((client, upstream), (upstream, client)):
                    threading.Thread(target=pump, args=ends, daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        server.shutdown(socket.SHUT_RDWR)


def test_proxy_of_the_environment(
    tls: LyingRegistry, authority: Authority, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tunnel trusts what the certificate directory says too."""
    monkeypatch.setattr("toolkit.images.registry_client._is_local", lambda host: False)
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
