"""What is attached to a pushed executable: in registries that list it, and in those that do not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from false_server import serving_port
from images_support import INDEX, MANIFEST, answer, docker_registry, run, sha256, skopeo_copy
from support import dockerc, failed

from toolkit.errors import DockercError
from toolkit.images.auth.access import DEFAULT_ACCESS
from toolkit.images.manifest import Descriptor
from toolkit.images.reference import RegistryReference
from toolkit.images.referrers import MAX_REFERRERS, encode_index, fallback_tag, parse_referrers
from toolkit.images.transports.registry.executable import open_remote_executable
from toolkit.images.transports.registry.referrers import attach, list_referrers
from toolkit.images.transports.registry.upload import Uploads

pytestmark = pytest.mark.usefixtures("home")
CYCLONEDX = "application/vnd.cyclonedx+json"
Manifest = dict[str, object]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's registry, which has no list of referrers."""
    with docker_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


def push(app: Path, name: str) -> tuple[str, str]:
    """The digests of the executable's manifest, and of the list's."""
    done = dockerc("push", "--sbom", app, name)
    told = re.fullmatch(
        rf"{app}: its SBOM is attached as (sha256:\w+)", done.stderr.splitlines()[-1]
    )
    assert told
    return done.stdout.strip().rpartition("@")[2], told[1]


def copied(name: str, place: Path) -> Manifest:
    """A manifest as skopeo gets it."""
    raw = run("skopeo", "inspect", "--raw", "--tls-verify=false", name)
    place.mkdir()
    (place / "manifest.json").write_text(raw)
    found: Manifest = json.loads(raw)
    return found


def test_a_list_of_packages_is_attached(hello: Path, address: str, tmp_path: Path) -> None:
    """skopeo finds it by the tag that stands in for the list; it is what `dockerc sbom` says."""
    name = f"docker://{address}/team/app:1"
    digest, attached = push(hello, name)
    index = copied(f"docker://{address}/team/app:{fallback_tag(digest)}", tmp_path / "index")
    (entry,) = index["manifests"]  # type: ignore[misc]
    assert index["mediaType"] == INDEX
    assert (entry["digest"], entry["artifactType"]) == (attached, CYCLONEDX)
    there = tmp_path / "there"
    skopeo_copy(f"docker://{address}/team/app@{attached}", f"dir:{there}", "--src-tls-verify=false")
    data = (there / "manifest.json").read_bytes()
    assert (sha256(data), len(data)) == (attached, entry["size"])
    manifest = json.loads(data)
    assert manifest["subject"]["digest"] == digest
    assert manifest["subject"]["mediaType"] == MANIFEST
    assert manifest["artifactType"] == CYCLONEDX
    (layer,) = manifest["layers"]
    assert layer["mediaType"] == CYCLONEDX
    document = (there / layer["digest"][7:]).read_text()
    assert document + "\n" == dockerc("sbom", "--format", "cyclonedx", hello).stdout


def test_the_same_is_attached_once_and_others_stay(
    hello: Path, address: str, tmp_path: Path
) -> None:
    name = f"docker://{address}/twice/app:1"
    digest, attached = push(hello, name)
    assert push(hello, name) == (digest, attached)
    place = RegistryReference(address, "twice/app", "1", None)
    with closing(Uploads(place, DEFAULT_ACCESS, None)) as uploads:
        other = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/x"}
        other |= {"config": {"mediaType": "a/b", "digest": sha256(b"{}"), "size": 2}, "layers": []}
        entry = attach(uploads, uploads.client, digest, json.dumps(other).encode())
    assert push(hello, name) == (digest, attached)
    with open_remote_executable(place, DEFAULT_ACCESS) as remote:
        assert [each.digest for each in remote.referrers()] == [attached, entry.digest]


def test_inspect_shows_what_is_attached(hello: Path, address: str) -> None:
    name = f"docker://{address}/shown/app:1"
    digest, attached = push(hello, name)
    told = dockerc("inspect", name).stdout
    assert f"attached {CYCLONEDX}\n         {attached}\n" in told and f"digest   {digest}\n" in told
    found = json.loads(dockerc("inspect", "--json", name).stdout)
    executable = found["executable"]
    assert executable["digest"] == digest and executable["size"] == hello.stat().st_size
    assert executable["file_digest"] == sha256(hello.read_bytes())
    (entry,) = found["referrers"]
    assert (entry["artifact_type"], entry["digest"]) == (CYCLONEDX, attached)
    assert list(entry["annotations"]) == ["org.opencontainers.image.created"]
    template = "{{range .referrers}}{{.digest}}{{end}}"
    assert dockerc("inspect", "--format", template, name).stdout == f"{attached}\n"
    assert "`dockerc pull` fetches it" in failed("inspect", "--config", name)
    dockerc("push", "-q", hello, f"docker://{address}/bare/app:1")
    bare = dockerc("inspect", "--json", f"docker://{address}/bare/app:1").stdout
    assert json.loads(bare)["referrers"] == []


class Listing:
    """A registry that lists referrers by itself, so many on a page."""

    def __init__(self) -> None:
        self.manifests: dict[str, bytes] = {}
        self.pages: dict[str, tuple[bytes, str]] = {}
        self.put: list[str] = []

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        kind, _, name = request.path.removeprefix("/v2/app/").partition("/")
        if request.command == "PUT":
            self.put.append(name)
            headers = {"OCI-Subject": "yes", "Docker-Content-Digest": sha256(body)}
            answer(201, b"", headers)(request)
        elif kind == "referrers" and name in self.pages:
            data, link = self.pages[name]
            answer(200, data, {"Content-Type": INDEX} | ({"Link": link} if link else {}))(request)
        elif kind == "manifests" and name in self.manifests:
            answer(200, self.manifests[name], {"Content-Type": INDEX})(request)
        else:
            answer(404)(request)


@pytest.fixture
def listing() -> Iterator[tuple[Listing, Uploads]]:
    registry = Listing()
    with serving_port(registry.handle) as port:
        place = RegistryReference(f"127.0.0.1:{port}", "app", "latest", None)
        with closing(Uploads(place, DEFAULT_ACCESS, None)) as uploads:
            yield registry, uploads


SUBJECT = sha256(b"subject")
ENTRY = Descriptor(MANIFEST, sha256(b"entry"), 5, None, {"a": "b"}, "application/x")


def found(uploads: Uploads) -> list[Descriptor]:
    return list_referrers(uploads.client, SUBJECT)


def test_a_registry_that_lists_by_itself(listing: tuple[Listing, Uploads]) -> None:
    registry, uploads = listing
    data = json.dumps({"artifactType": "application/x", "annotations": {"a": "b"}}).encode()
    entry = attach(uploads, uploads.client, SUBJECT, data)
    assert registry.put == [sha256(data)], "no tag stands in for the list"
    assert entry == replace(ENTRY, digest=sha256(data), size=len(data))
    other = replace(ENTRY, digest=sha256(b"other"))
    registry.manifests[fallback_tag(SUBJECT)] = encode_index([other])
    assert found(uploads) == [other]
    next_page = '<http://elsewhere.example/v2/other/referrers/x?n=2>; rel="next"'
    registry.pages = {
        SUBJECT: (encode_index([ENTRY]), next_page),
        f"{SUBJECT}?n=2": (encode_index([other]), ""),
    }
    assert found(uploads) == [ENTRY, other]


def test_lists_that_are_wrong(listing: tuple[Listing, Uploads]) -> None:
    registry, uploads = listing
    many = encode_index([ENTRY] * (MAX_REFERRERS + 1))
    wrong = {
        "is not valid JSON": b"no",
        "it is no index": json.dumps({"mediaType": MANIFEST}).encode(),
        "a descriptor without a proper size": json.dumps({"manifests": [{"a": 1}]}).encode(),
        "has 1001 entries; at most 1000 are read": many,
    }
    for told, data in wrong.items():
        registry.pages = {SUBJECT: (data, "")}
        with pytest.raises(DockercError, match=told):
            found(uploads)
    assert len(parse_referrers(encode_index([ENTRY] * MAX_REFERRERS), "it")) == MAX_REFERRERS
    registry.pages = {SUBJECT: (encode_index([ENTRY] * 600), '<?n=1>; rel="next"')}
    registry.pages[f"{SUBJECT}?n=1"] = (encode_index([ENTRY] * 600), '<?n=1>; rel="next"')
    with pytest.raises(DockercError, match="is more than 1000 manifests"):
        found(uploads)
    registry.pages = {SUBJECT: (encode_index([]), '<?n=0>; rel="next"')}
    registry.pages[f"{SUBJECT}?n=0"] = registry.pages[SUBJECT]
    with pytest.raises(DockercError, match="refusing"):
        found(uploads)
