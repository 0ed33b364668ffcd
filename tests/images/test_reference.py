"""Image names: what is understood, and what is said of the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.errors import UsageError
from toolkit.images.reference import (
    ArchiveReference,
    LayoutReference,
    RegistryReference,
    parse_reference,
)

SHA = "sha256:" + "0a" * 32
SHA512 = "sha512:" + "0b" * 64


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("debian", "docker://docker.io/library/debian:latest"),
        ("debian:12", "docker://docker.io/library/debian:12"),
        ("docker:24-dind", "docker://docker.io/library/docker:24-dind"),
        ("docker://debian:12", "docker://docker.io/library/debian:12"),
        ("docker.io/debian", "docker://docker.io/library/debian:latest"),
        ("index.docker.io/a/b", "docker://docker.io/a/b:latest"),
        ("user/app", "docker://docker.io/user/app:latest"),
        ("localhost/app", "docker://localhost/app:latest"),
        ("localhost:5000/debian:12", "docker://localhost:5000/debian:12"),
        ("docker://[::1]:5000/a/b__c.d-e:v1", "docker://[::1]:5000/a/b__c.d-e:v1"),
        ("ghcr.io/o/a/b:T.1-x_y", "docker://ghcr.io/o/a/b:T.1-x_y"),
        (f"quay.io/a@{SHA}", f"docker://quay.io/a@{SHA}"),
        (f"quay.io/a:1@{SHA512}", f"docker://quay.io/a@{SHA512}"),
        ("oci:dir", "oci:dir"),
        ("oci:/a b/dir:latest", "oci:/a b/dir:latest"),
        ("oci:dir:docker.io/library/x:1", "oci:dir:docker.io/library/x:1"),
        (f"oci:dir@{SHA}", f"oci:dir@{SHA}"),
        (f"oci:dir:@{SHA}", f"oci:dir@{SHA}"),
        ("oci:user@host/dir", "oci:user@host/dir"),
        (r"oci:C:\images\x:1", r"oci:C:\images\x:1"),
        ("oci:C:/images/x", "oci:C:/images/x"),
        (rf"oci-archive:D:\x.tar@{SHA}", rf"oci-archive:D:\x.tar@{SHA}"),
        ("oci-archive:x.tar:v1", "oci-archive:x.tar:v1"),
        ("docker-archive:x.tar", "docker-archive:x.tar"),
        ("docker-archive:x.tar:a:1", "docker-archive:x.tar:docker.io/library/a:1"),
        ("docker-archive:x.tar:a", "docker-archive:x.tar:docker.io/library/a:latest"),
        (r"docker-archive:C:\x.tar:q.io/a:1", r"docker-archive:C:\x.tar:q.io/a:1"),
        ("docker-archive:x.tar:@3", "docker-archive:x.tar:@3"),
        ("docker-daemon:app", "docker-daemon:app:latest"),
        ("docker-daemon:docker.io/library/app:1", "docker-daemon:app:1"),
        ("docker-daemon:q.io/a/b:1", "docker-daemon:q.io/a/b:1"),
        (f"docker-daemon:app@{SHA}", f"docker-daemon:app@{SHA}"),
        (f"docker-daemon:{SHA}", f"docker-daemon:{SHA}"),
        ("containers-storage:[overlay@/x]app:1", "containers-storage:[overlay@/x]app:1"),
        ("dir:/a:b", "dir:/a:b"),
    ],
)
def test_canonical_names(text: str, canonical: str) -> None:
    assert str(parse_reference(text)) == canonical
    assert str(parse_reference(canonical)) == canonical


def test_parts() -> None:
    assert parse_reference(f"localhost:5000/a/b:1@{SHA}") == RegistryReference(
        "localhost:5000", "a/b", "1", SHA
    )
    assert parse_reference(r"oci:C:\d:t") == LayoutReference("oci", r"C:\d", "t", None)
    assert parse_reference("docker-archive:f:a:1") == ArchiveReference(
        "f", RegistryReference("docker.io", "library/a", "1", None), None
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("docker-daemon:", "not an image name"),
        ("docker-daemon:A", "lower-case"),
        ("docker-daemon:a@sha256:1", "not a digest"),
        ("containers-storage:", "names no image"),
        ("containers-storage:a\nb", "names no image"),
        ("dir:", "names no directory"),
        ("s3://bucket/x", "unknown transport 's3:'.*docker://NAME, docker-daemon:NAME, .*oci:DIR"),
        ("ftp:/x", "unknown transport 'ftp:'"),
        ("./debian", "is a path.*oci:DIR"),
        ("/images/debian.tar", "is a path"),
        (r"C:\images\x", "is a path"),
        ("Debian", "lower-case"),
        ("", "not an image name"),
        ("docker://", "not an image name"),
        ("a//b", "not an image name"),
        ("a b", "not an image name"),
        ("debian:", "not a tag"),
        ("debian:-x", "not a tag"),
        ("debian:" + "x" * 129, "not a tag"),
        ("debian:1:2", "not a tag"),
        ("debian@sha256:12", "not a digest"),
        ("debian@md5:" + "0" * 32, "not a digest"),
        ("x" * 300, "at most 255"),
        ("oci:", "names no path"),
        ("oci:dir@sha256:12", "not a digest"),
        ("docker-archive:", "names no file"),
        ("docker-archive::a:1", "names no file"),
        ("oci::a", "names no path"),
        ("docker-archive:x.tar:A:1", "lower-case"),
        (f"docker-archive:x.tar:a@{SHA}", "asks for a digest"),
    ],
)
def test_refusals(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        parse_reference(text)


_heads = st.sampled_from(
    ["", "docker://", "oci:", "oci-archive:", "docker-archive:", "docker-daemon:", "dir:", "C:"]
)


@given(_heads, st.text(alphabet=st.sampled_from("aA0.:/\\@-_[] \n\0é~"), max_size=30))
def test_any_text_is_a_reference_or_a_usage_error(head: str, text: str) -> None:
    try:
        reference = parse_reference(head + text)
    except UsageError:
        return
    assert str(parse_reference(str(reference))) == str(reference)
