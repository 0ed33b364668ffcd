"""`dockerc sbom` of real images: beside what their own tools list, and what schemas ask for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from layout import directory, file, symlink, tar_of, write_layout
from packages_support import elf, go_info
from support import TESTS, Runner, dockerc, failed, with_config

from toolkit.executable.executable import open_executable
from toolkit.executable.payload import config_of
from toolkit.services import image_files
from toolkit.services.image_files import executable_files
from toolkit.services.sbom import licenses
from toolkit.services.sbom.bill import bill_of_executable
from toolkit.services.sbom.licenses import Kind, classify

STATUS = "Package: {}\nStatus: install ok installed\nVersion: {}\nArchitecture: all\n\n"


def bill(name: str | Path, *options: str) -> dict[str, Any]:
    done = dockerc("sbom", "--format", "json", *options, name)
    assert done.stderr == ""
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def versions(found: dict[str, Any], kind: str) -> set[tuple[str, str]]:
    return {(p["name"], p["version"]) for p in found["packages"] if p["type"] == kind}


@pytest.fixture(scope="module")
def layers(place: Path) -> Path:
    """An image of three layers, each of which adds a package and writes the databases anew."""
    first = STATUS.format("base", "1")
    second = first + STATUS.format("tool", "2")
    info = "var/lib/dpkg/info"
    metadata = b"Name: thing\nVersion: 3\nLicense: <script>\n"
    program = elf({b".go.buildinfo": go_info("go1.22", "path\tx\nmod\te.org/x\tv1\n")})
    return write_layout(
        place / "bill.layout",
        [
            tar_of(
                directory("var/lib/dpkg"), file("var/lib/dpkg/status", first.encode()),
                file(f"{info}/base.list", b"/."), file("etc/os-release", b"ID=debian\n"),
                file("usr/share/doc/base/copyright", b"Format: x\nLicense: GPL-2+\n"),
                file("opt/gone.dist-info/METADATA", metadata),
            ),
            tar_of(
                file("var/lib/dpkg/status", second.encode()), file(f"{info}/tool.list", b"/./"),
                file("opt/.wh.gone.dist-info"), symlink("usr/share/doc/tool", "base"),
            ),
            tar_of(
                file("opt/thing.dist-info/METADATA", metadata),
                file("opt/x", program, mode=0o755), file("opt/y", program),
                file("opt/node_modules/bad/package.json", b"{"),
            ),
        ],
        {"Cmd": ["true"]},
        history=["one", "two", "three"],
    )  # fmt: skip


def test_which_layer_each_is_from(layers: Path, place: Path, tmp_path: Path) -> None:
    """Of an image, and of the executable that is made from it, whatever is added to that."""
    app = place / "bill"
    dockerc("build", f"oci:{layers}", "-o", app)
    (tmp_path / "METADATA").write_text("Name: late\nVersion: 1\n")
    late = tmp_path / "late"
    dockerc("cp", tmp_path / "METADATA", f"{app}:/opt/late.egg-info", late)
    config = json.loads(dockerc("inspect", "--json", f"oci:{layers}").stdout)["config"]
    one, two, three = config["rootfs"]["diff_ids"]
    expected = {"base": one, "tool": two, "thing": three, "e.org/x": three, "stdlib": three}
    for name in (f"oci:{layers}", app, late):
        done = dockerc("sbom", "--format", "json", name)
        assert "node_modules/bad/package.json was not read to its end" in done.stderr
        told = json.loads(done.stdout)
        found = {p["name"]: p["layer"] for p in told["packages"]}
        assert found.pop("late", None) is None and found == expected, name
        assert {p["name"]: p["licenses"] for p in told["packages"]}["tool"] == ["GPL-2+"]
    dockerc("edit", app, tmp_path / "edited", "-e", "A=" + "x" * 5000)
    found = {p["name"]: p["layer"] for p in json.loads(
        dockerc("sbom", "--format", "json", tmp_path / "edited").stdout)["packages"]}  # fmt: skip
    assert found == expected


def test_layers_that_an_executable_does_not_know(layers: Path, tmp_path: Path) -> None:
    """With a profile the data of layers is in another order."""
    (tmp_path / "profile").write_text("# dockerc profile 1\nstart /opt/x\nread 0+4096 /opt/x\n")
    app = tmp_path / "app"
    dockerc("build", f"oci:{layers}", "-o", app, "--profile", tmp_path / "profile")
    told = json.loads(dockerc("sbom", "--format", "json", app).stdout)
    assert len(told["packages"]) == 5 and {p["layer"] for p in told["packages"]} == {None}


def test_dpkg_as_dpkg_says(deb: Path, run_as_user: Runner) -> None:
    listed = run_as_user(
        deb, "dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Abbrev}\n"
    )
    theirs = {tuple(line.split()) for line in listed.stdout.splitlines()}
    assert len(theirs) > 80 and {status for *_, status in theirs} == {"ii"}
    assert versions(bill(deb), "deb") == {(name, version) for name, version, _ in theirs}


LIST = """
import importlib.metadata as m
for d in m.distributions(): print(d.metadata["Name"], d.version)
"""


def test_python_as_python_says(images: Path, python: Path, run_as_user: Runner) -> None:
    listed = run_as_user(python, "python3", "-c", LIST)
    theirs = {tuple(line.split()) for line in listed.stdout.splitlines()}
    found = bill(f"oci:{images}/python")
    assert versions(found, "pypi") == theirs and ("numpy", "1.24.2") in theirs
    assert found == bill(python)
    # Debian's layer, and that of the packages which were installed on it.
    assert len({p["layer"] for p in found["packages"]}) == 2


@pytest.mark.parametrize("form", ["cyclonedx", "spdx"])
def test_the_same_bytes_each_time(layers: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def text() -> str:
        return str(dockerc("sbom", "--format", form, f"oci:{layers}").stdout)

    before = text()
    assert "thing" in before and "1970-01-01T00:00:00" in before
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    assert text() == before
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert "1970-01-02T00:00:00" in text()


def test_cyclonedx_is_valid(python: Path, layers: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    for name, count in ((python, 100), (f"oci:{layers}", 5)):
        text = dockerc("sbom", "--format", "cyclonedx", name).stdout
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
        told = json.loads(text)
        found = {c["purl"] for c in told["components"] if c["type"] == "library"}
        assert len(found) >= count
        (distribution,) = [c for c in told["components"] if c["type"] == "operating-system"]
        assert distribution["name"] == "debian"
        graph = {each["ref"]: each.get("dependsOn") for each in told["dependencies"]}
        components = {each["bom-ref"] for each in told["components"]}
        assert set(graph.pop("image")) == components == set(graph)
    by_name = {c["name"]: c for c in told["components"]}
    assert by_name["base"]["licenses"] == [{"license": {"id": "GPL-2.0-or-later"}}]
    assert by_name["thing"]["licenses"] == [{"license": {"name": "<script>"}}]
    properties = {p["name"]: p["value"] for p in by_name["thing"]["properties"]}
    assert properties["dockerc:path"] == "/opt/thing.dist-info/METADATA"
    assert properties["dockerc:layer"].startswith("sha256:")


def test_spdx_is_valid(python: Path, layers: Path, tmp_path: Path) -> None:
    from spdx_tools.spdx.parser.parse_anything import parse_file
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    for name, count in ((python, 100), (f"oci:{layers}", 5)):
        output = tmp_path / "bill.spdx.json"
        done = dockerc("sbom", "--format", "spdx", "-o", output, name)
        assert done.stdout == ""
        document: Any = parse_file(str(output))
        assert validate_full_spdx_document(document) == []
        assert len(document.packages) > count
    declared = {p.name: str(p.license_declared) for p in document.packages}
    assert declared["base"] == "GPL-2.0-or-later" and declared["thing"] == "LicenseRef-script"
    assert declared["stdlib"] == "NOASSERTION"


def test_the_table(layers: Path) -> None:
    lines = dockerc("sbom", f"oci:{layers}").stdout.splitlines()
    assert lines[0].split() == ["type", "name", "version", "layer", "licenses"]
    assert any(line.split()[:3] == ["deb", "tool", "2"] for line in lines)
    assert lines[-1] == "5 packages: 2 deb, 2 golang, 1 pypi"
    empty = dockerc("sbom", f"oci:{Path(__file__).parents[2]}/fixtures/hello").stdout
    assert empty == "0 packages\n"


def test_without_the_libraries(layers: Path) -> None:
    """They are an extra: all else goes without them."""
    hide = (
        "import sys; sys.modules['cyclonedx'] = sys.modules['spdx_tools'] = None;"
        "from toolkit.cli import main; main()"
    )

    def without(form: str) -> Any:
        command = [sys.executable, "-c", hide, "sbom", "--format", form, f"oci:{layers}"]
        return subprocess.run(command, capture_output=True, text=True)

    for form, name in (("cyclonedx", "cyclonedx-python-lib"), ("spdx", "spdx-tools")):
        done = without(form)
        assert done.returncode == 1 and done.stdout == ""
        assert f"{name} is not installed: pip install 'dockerc[sbom]'" in done.stderr
    assert without("table").returncode == without("json").returncode == 0


def test_what_is_read_is_bounded(
    layers: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = place / "bounded"
    dockerc("build", f"oci:{layers}", "-o", app)
    with open_executable(app) as executable:
        assert len(bill_of_executable(executable, executable_files(executable), "x").layers) == 3
        monkeypatch.setattr(image_files, "_MAX_DECODED", 1000)
        found = bill_of_executable(executable, executable_files(executable), "x").inventory
        assert found.packages == [] and "more than 1000 bytes" in found.notes[0]
        monkeypatch.setattr(image_files, "_MAX_DECODED", 1 << 40)
        monkeypatch.setattr(image_files, "_FREE", 0)
        monkeypatch.setattr(image_files, "_MAX_OVERLAP", 0)
        found = bill_of_executable(executable, executable_files(executable), "x").inventory
        assert found.packages == [] and "its blocks overlap" in found.notes[0]


@pytest.mark.parametrize("layers", ["[", "{}", '[1, {"diff_id": 5}]', "[" * 300])
@pytest.mark.parametrize("stored", ["[", "[-1]", '["1"]', "[1e99]", f"[{1 << 70}]", "{}"])
def test_annotations_that_lie(hello: Path, tmp_path: Path, layers: str, stored: str) -> None:
    with open_executable(hello) as executable:
        config = config_of(executable)
    config["annotations"] |= {"dev.dockerc.layers": layers, "dev.dockerc.stored": stored}
    app = with_config(hello, config, tmp_path / "app")
    with open_executable(app) as executable:
        files = executable_files(executable)
        assert all(not each.diff_id for each in files.layers)
        assert {file.layer for file in files.walk()} == {None}
        assert bill_of_executable(executable, files, "x").inventory.packages == []


def test_the_fields_are_those_of_the_document(layers: Path) -> None:
    document = (TESTS.parent / "docs" / "sbom.md").read_text()
    documented = set(re.findall(r"^\| `([a-z.\[\]]+)` \|", document, re.MULTILINE))
    told = json.loads(dockerc("sbom", "--format", "json", f"oci:{layers}").stdout)
    printed = {"notes"} | {f"image.{name}" for name in told["image"]}
    printed |= {f"packages[].{name}" for name in told["packages"][0]}
    assert printed == documented - {"deb", "apk", "rpm", "pypi", "npm", "golang", "cargo", "maven"}


def test_usage(hello: Path) -> None:
    assert "--platform goes with the name of an image" in failed(
        "sbom", "--platform", "linux/amd64", hello, status=2
    )
    assert "'xml'" in failed("sbom", "--format", "xml", hello, status=2)


@pytest.mark.parametrize(
    ("text", "kind", "known"),
    [
        ("GPL-2+", Kind.ID, "GPL-2.0-or-later"),
        ("LGPLv2.1", Kind.ID, "LGPL-2.1-only"),
        ("Expat", Kind.ID, "MIT"),
        ("mit", Kind.ID, "MIT"),
        ("MIT OR Apache-2.0", Kind.EXPRESSION, "MIT OR Apache-2.0"),
        ("GPL or MIT", Kind.NAME, "GPL or MIT"),
        ("HSIEH-BSD", Kind.NAME, ""),
        ("(" * 21 + "MIT OR MIT" + ")" * 21, Kind.NAME, ""),
    ],
)
def test_licenses(text: str, kind: Kind, known: str) -> None:
    assert licenses._MAX_PARENTHESES == 20
    assert classify(text) == (kind, known or text)
