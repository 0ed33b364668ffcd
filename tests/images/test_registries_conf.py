"""registries.conf: which registries an image is looked for in."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from images_support import (
    Layout,
    LyingRegistry,
    answer,
    lying_registry,
    read_image,
)
from registry_support import conf

from toolkit.errors import DockercError, UsageError
from toolkit.images.auth.access import Access, Credentials
from toolkit.images.auth.registries_conf import load_registries_conf
from toolkit.images.reference import RegistryReference, parse_reference

SHA = "sha256:" + "0a" * 32


pytestmark = pytest.mark.usefixtures("home")


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
