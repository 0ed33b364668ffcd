"""push, pull and update with a real registry; skopeo and sha256sum judge what is stored."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
from images_support import FIXTURE, run, sha256, skopeo_copy
from layout import file, noise, tar_of, write_layout
from registry_support import PASSWORD, USER, Closed, TokenServer
from support import TOOL, dockerc, failed

from toolkit.commands.progress_display import Silent
from toolkit.errors import DockercError
from toolkit.images.auth.access import DEFAULT_ACCESS, Access
from toolkit.images.reference import RegistryReference, parse_reference
from toolkit.services.transfer import origin
from toolkit.services.transfer.push import Pushed, push
from toolkit.services.transfer.rebuild import Pulled, pull, update

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three builds whose last layer, of two megabytes, differs."""
    place = tmp_path_factory.mktemp("versions")
    base = tar_of(*(file(f"base/{n}", noise(100_000, n)) for n in range(60)))
    apps = []
    for number in range(3):
        top = tar_of(*(file(f"app/{n}", noise(100_000, 100 * number + n)) for n in range(100, 120)))
        layout = write_layout(place / f"layout{number}", [base, top])
        apps.append(place / f"app{number}")
        dockerc("build", "-q", f"oci:{layout}", "--arch", "amd64", "-o", apps[-1])
    return apps


def reference(registry: str, rest: str) -> RegistryReference:
    parsed = parse_reference(f"docker://{registry}/{rest}")
    assert isinstance(parsed, RegistryReference)
    return parsed


def put(app: Path, name: RegistryReference, access: Access = DEFAULT_ACCESS) -> Pushed:
    return push(app, name, access, Silent())


def get(name: RegistryReference, output: Path, *bases: Path) -> Pulled:
    return pull(name, output, bases, DEFAULT_ACCESS, Silent())


def renew(app: Path, name: RegistryReference | None = None) -> Pulled | None:
    return update(app, name or origin.known_origin(app), DEFAULT_ACCESS, Silent())


def test_as_a_user_types_it(registry: str, versions: list[Path], tmp_path: Path) -> None:
    name, app = f"docker://{registry}/team/app:1", tmp_path / "app-1"
    done = dockerc("push", versions[0], name)
    told = re.compile(r"(\d+\.\d MB) in (\d+) chunks, of which (\d+) \((\d+\.\d MB)\) were ")
    size = f"{versions[0].stat().st_size / 1e6:.1f} MB"
    said = told.search(done.stderr)
    assert said and said[1] == said[4] == size and said[2] == said[3]
    assert re.fullmatch(rf"docker://{registry}/team/app@sha256:[0-9a-f]{{64}}\n", done.stdout)
    first, line, last = dockerc("pull", name, cwd=tmp_path).stderr.splitlines()
    assert first == "dockerc: no --output, so the file is app-1"
    assert line == f"pull: {size}" and last.endswith(f"({size}) were fetched from {name}")
    assert app.read_bytes() == versions[0].read_bytes()
    assert app.stat().st_mode & 0o777 == 0o755
    assert dockerc("update", app).stderr == f"{app} is current ({name})\n"
    pinned = done.stdout.strip()
    assert dockerc("push", "-q", versions[1], name).stderr == ""
    said = told.search(dockerc("update", app).stderr)
    assert said and 0 < int(said[3]) < int(said[2])
    assert app.read_bytes() == versions[1].read_bytes()
    get(reference(registry, pinned.removeprefix(f"docker://{registry}/")), app)
    assert app.read_bytes() == versions[0].read_bytes()


def test_the_blobs_one_after_the_other_are_the_file(
    registry: str, versions: list[Path], tmp_path: Path
) -> None:
    """As docs/travel.md says, for programs that do not know us."""
    stored = put(versions[0], reference(registry, "judge/app:1"))
    copy = tmp_path / "copy"
    skopeo_copy(str(stored.reference), f"dir:{copy}", "--src-tls-verify=false")
    manifest = json.loads((copy / "manifest.json").read_text())
    assert sha256((copy / "manifest.json").read_bytes()) == stored.digest
    blobs = [copy / layer["digest"][7:] for layer in manifest["layers"]]
    joined = subprocess.run(["cat", *blobs], check=True, capture_output=True).stdout
    assert joined == versions[0].read_bytes()
    told = run("sha256sum", versions[0]).split()[0]
    annotations = manifest["annotations"]
    assert annotations["dev.dockerc.executable.digest"] == f"sha256:{told}"
    assert annotations["dev.dockerc.executable.size"] == str(len(joined))
    assert (copy / manifest["config"]["digest"][7:]).read_bytes() == b"{}"
    # And back, by skopeo, into another repository.
    other = reference(registry, "judge/other:1")
    skopeo_copy(f"dir:{copy}", str(other), "--dest-tls-verify=false")
    get(other, tmp_path / "app")
    assert (tmp_path / "app").read_bytes() == joined


def test_the_same_file_has_the_same_digest(registry: str, versions: list[Path]) -> None:
    one = put(versions[0], reference(registry, "same/app:1"))
    again = put(versions[0], reference(registry, "same/app:2"))
    assert one.digest == again.digest and one.sent == one.size
    assert (again.sent, again.sent_chunks) == (0, 0)


def test_only_what_is_new_travels(registry: str, versions: list[Path], tmp_path: Path) -> None:
    first, second = (reference(registry, f"new/app:{tag}") for tag in (1, 2))
    app, other = tmp_path / "app", tmp_path / "other"
    put(versions[0], first)
    stored = put(versions[1], second)
    assert 2_000_000 < stored.sent < 2_000_000 * 1.1 + (256 << 10)
    assert 1 < stored.sent_chunks < stored.chunks // 2
    assert get(first, app).fetched == versions[0].stat().st_size
    # The file that is replaced is a base by itself, and so is one that is named.
    assert get(second, app).fetched == stored.sent
    assert app.read_bytes() == versions[1].read_bytes()
    assert get(second, other, versions[2]).fetched == stored.sent
    assert get(second, other, versions[0], versions[1]).fetched_chunks == 0
    assert other.read_bytes() == versions[1].read_bytes()


def test_update(registry: str, versions: list[Path], tmp_path: Path) -> None:
    name, app = reference(registry, "news/app:latest"), tmp_path / "app"
    put(versions[0], name)
    get(name, app)
    assert renew(app) is None
    app.chmod(0o750)
    before = app.stat().st_ino
    put(versions[1], name)
    done = renew(app)
    assert done and done.fetched < 2_500_000
    assert app.read_bytes() == versions[1].read_bytes()
    assert app.stat().st_mode & 0o777 == 0o750 and app.stat().st_ino != before
    assert renew(app) is None


def test_update_of_a_file_that_nobody_pulled(
    registry: str, versions: list[Path], tmp_path: Path
) -> None:
    name, app = reference(registry, "named/app:1"), tmp_path / "app"
    app.write_bytes(versions[0].read_bytes())
    assert "name the place, `dockerc update" in failed("update", app)
    put(versions[1], name)
    assert renew(app, name)
    assert app.read_bytes() == versions[1].read_bytes() and os.access(app, os.X_OK)
    assert renew(app) is None
    os.removexattr(app, "user.dockerc.origin")
    assert renew(app, name) is None and origin.read_origin(app) == name
    assert "there is no such file" in failed("update", tmp_path / "none")
    os.setxattr(app, "user.dockerc.origin", b"oci:\x1b[2J\xff")
    said = failed("update", app)
    assert "user.dockerc.origin names no image" in said and "\x1b" not in said


def test_what_was_pulled_is_mounted_into_another_repository(
    registry: str, versions: list[Path], tmp_path: Path
) -> None:
    app = tmp_path / "app"
    put(versions[0], reference(registry, "test/app:1"))
    get(reference(registry, "test/app:1"), app)
    assert put(app, reference(registry, "prod/app:1")).sent == 0
    get(reference(registry, "prod/app:1"), tmp_path / "other")
    assert (tmp_path / "other").read_bytes() == versions[0].read_bytes()
    # A repository that is not there is no reason to fail.
    os.setxattr(app, "user.dockerc.origin", f"docker://{registry}/gone/app:1".encode())
    done = put(app, reference(registry, "more/app:1"))
    assert done.sent == done.size


def test_bars_on_a_terminal(registry: str, versions: list[Path], tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    terminal = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    words = ["push", str(versions[0]), f"docker://{registry}/bars/app:1"]
    with subprocess.Popen(
        [*TOOL, *words], stderr=theirs, stdout=subprocess.DEVNULL, env=terminal
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 1 << 16):
                shown += piece
        except OSError:  # what Linux says where the other end is closed
            pass
    os.close(ours)
    assert process.returncode == 0
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).split("\r")
    assert re.search(r"push ━+ .*[kM]B .*sent", " ".join(drawn)), drawn


# What is refused


def test_what_is_no_executable(registry: str, versions: list[Path], tmp_path: Path) -> None:
    name, app = reference(registry, "wrong/app:1"), tmp_path / "app"
    other = tmp_path / "text"
    other.write_text("hello")
    with pytest.raises(DockercError, match="not a dockerc executable"):
        put(other, name)
    image = reference(registry, "wrong/app:image")
    skopeo_copy(f"oci:{FIXTURE}", str(image), "--all", "--dest-tls-verify=false")
    with pytest.raises(DockercError, match=r"that of a container image.*`dockerc build`"):
        get(image, app)
    with pytest.raises(DockercError, match="has no tag 'none'; it has image"):
        get(reference(registry, "wrong/app:none"), app)
    put(versions[0], name)
    said = failed("build", str(name), "-o", app)
    assert "an artifact: application/vnd.dockerc.executable.v1; `dockerc pull`" in said
    assert "give another name" in failed("pull", str(name), "-o", other)
    assert other.read_text() == "hello" and not app.exists()
    dockerc("pull", "-q", str(name), "-o", other, "--force")
    assert other.read_bytes() == versions[0].read_bytes()


def test_names_that_are_in_no_registry(versions: list[Path]) -> None:
    assert "is in no registry" in failed("push", versions[0], "oci:there", status=2)
    pinned = f"localhost/app@sha256:{'0' * 64}"
    assert "name a tag" in failed("push", versions[0], pinned, status=2)


# Registries that ask for a login


def test_password(password_registry: Closed, versions: list[Path], tmp_path: Path) -> None:
    closed, app = password_registry, tmp_path / "app"
    name = reference(closed.address, "team/tool:1")
    for access, told in {
        Access(certificates=closed.trusted): "denies access to",
        closed.access("wrong"): "refuses the login",
        Access(): "is not trusted",
    }.items():
        with pytest.raises(DockercError, match=told):
            put(versions[0], name, access)
        with pytest.raises(DockercError, match=told):
            pull(name, app, [], access, Silent())
    secret = f"{PASSWORD}\n"
    words = ["--creds", USER, "--password-stdin"]
    directory = ["--cert-dir", closed.trusted]
    dockerc("push", "-q", versions[0], str(name), *directory, *words, input=secret)
    variables = os.environ | {"DOCKERC_CERT_DIR": str(closed.trusted), "DOCKERC_QUIET": "1"}
    done = dockerc("pull", str(name), "-o", app, *words, input=secret, env=variables)
    assert done.stderr == "" and app.read_bytes() == versions[0].read_bytes()


def test_tokens(
    token_registry: Closed, tokens: TokenServer, versions: list[Path], tmp_path: Path
) -> None:
    closed, app = token_registry, tmp_path / "app"
    name = reference(closed.address, "team/tool:1")
    tokens.requests.clear()
    first = put(versions[0], name, closed.access())
    # One to look at blobs, one to put them there; threads may each have asked.
    assert first.sent == first.size and set(tokens.requests) == {"password"}
    assert len(tokens.requests) < first.chunks
    pull(name, app, [], closed.access(), Silent())
    assert app.read_bytes() == versions[0].read_bytes()
    assert put(app, reference(closed.address, "team/other:1"), closed.access()).sent == 0
    with pytest.raises(DockercError, match="denies access to"):
        put(app, name, Access(certificates=closed.trusted))


def test_origin_where_attributes_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", refuse)
    monkeypatch.setattr(os, "getxattr", refuse)
    with (tmp_path / "app").open("w") as app:
        origin.write_origin(app.fileno(), RegistryReference("a.io", "b", "c", None))
    assert origin.read_origin(tmp_path / "app") is None
