"""The page of `inspect --html` in a browser: what it shows, who can use it, what cannot harm."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_support import Browser, browser
from layout import directory, file, hard_link, noise, symlink, tar_of, write_layout
from support import Runner, dockerc
from test_run_services import services  # noqa: F401 - a fixture

from toolkit.commands.html.page import page

RUNS = "window.pwned=1"
HOSTILE = [
    f"<img src=x onerror={RUNS}>", f"</script><script>{RUNS}</script>", f'"><svg onload={RUNS}>',
    f"<!--<script>{RUNS}//", "__proto__", "constructor", "a\nb", "\u202egpj.exe", "x" * 240,
    f"javascript:{RUNS}", "&lt;&amp;", "{policy}",
]  # fmt: skip
STATUS = "Package: {}\nStatus: install ok installed\nVersion: 1\n\n"


@pytest.fixture(scope="module")
def room(place: Path) -> Path:
    """A directory with the pages: of a hostile image, and of the executable made of it."""
    made = place / "pages"
    made.mkdir(mode=0o755)
    names = [name.replace("/", "\N{DIVISION SLASH}") for name in HOSTILE]
    lower = [
        directory("usr/lib"), file("usr/lib/big.so.1", noise(90_000, 1)),
        file("usr/lib/gone", noise(50_000, 2)), file("usr/lib/old", noise(9000, 3)),
        file("var/lib/dpkg/info/base.list", b"/usr\n/usr/lib/big.so.1\n"),
        file("var/lib/dpkg/status", STATUS.format("base").encode()), symlink("lib", "usr/lib"),
        directory("tree"), file("tree/in/leaf", noise(7000, 4)),
    ]  # fmt: skip
    upper = [
        file("usr/lib/.wh.gone"), file("usr/lib/old", b"new" * 1000), file(".wh.tree"),
        file("copy", noise(90_000, 1)), hard_link("again", "copy"),
        *[file(f"evil/{name}/{name}", noise(2000, n + 5)) for n, name in enumerate(names)],
        *[file(f"evil/{n}.dist-info/METADATA", f"Name: n{n}\nVersion: {name}\nLicense: {name}\n"
               .encode()) for n, name in enumerate(HOSTILE) if name.isprintable()],
    ]  # fmt: skip
    labels = {name: name for name in HOSTILE}
    config = {"Cmd": HOSTILE, "Env": [f"A={name}" for name in HOSTILE], "Labels": labels}
    layout = write_layout(made / "</script>", [tar_of(*lower), tar_of(*upper)], config,
                          history=[HOSTILE[0], HOSTILE[1]])  # fmt: skip
    dockerc("inspect", "--html", made / "image.html", f"oci:{layout}")
    dockerc("build", f"oci:{layout}", "-o", made / "app")
    dockerc("inspect", "--html", made / "app.html", made / "app")
    key = made / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    dockerc("sign", made / "app", "--key", key, "-o", made / "signed")
    dockerc("inspect", "--html", made / "signed.html", made / "signed")
    text = (made / "image.html").read_text()
    (made / "without.html").write_text(re.sub(r"<meta http-equiv=.*?>", "", text))
    return made


@pytest.fixture(scope="module")
def chromium(services: Path, room: Path) -> Iterator[Browser]:  # noqa: F811
    with browser(Runner(as_root=False).command(services), room) as found:
        yield found


def opened(chromium: Browser, name: str) -> Browser:
    chromium.open(f"file:///page/{name}")
    return chromium


def rows(chromium: Browser, section: str) -> list[list[str]]:
    """The cells of a section's tables."""
    program = (
        f"[...document.querySelectorAll('#{section} tbody tr')]"
        ".map(r => [...r.children].map(c => c.textContent))"
    )
    return chromium.ask(program)  # type: ignore[no-any-return]


def search(chromium: Browser, section: str, text: str) -> list[list[str]]:
    chromium.ask(f"document.getElementById('{section}-search').focus()")
    chromium.call("Input.insertText", text=text)
    time.sleep(0.4)
    return rows(chromium, section)


@pytest.mark.parametrize("name", ["image.html", "app.html", "without.html"])
def test_nothing_of_an_image_runs(chromium: Browser, name: str) -> None:
    """Nor does the browser ask for anything; also without the policy that forbids both."""
    opened(chromium, name)
    for by in ("layer", "kind", "package", "directory"):
        chromium.ask(
            f"(s => {{ s.value = '{by}'; s.dispatchEvent(new Event('change')) }})"
            "(document.getElementById('by-by'))"
        )
    found = search(chromium, "files", "evil")
    assert len(found) >= len(HOSTILE) and any("<img src=x" in row[0] for row in found)
    assert chromium.ask("window.pwned") is None
    tags = chromium.ask("[...document.querySelectorAll('*')].map(e => e.localName)")
    assert tags.count("script") == 2 and not {"img", "svg", "iframe", "object"} & set(tags)
    assert chromium.ask("[...document.links].every(a => a.hash && a.protocol == 'file:')")
    assert chromium.complaints() == []
    asked = [e["params"]["request"]["url"] for e in chromium.events
             if e.get("method") == "Network.requestWillBeSent"]  # fmt: skip
    assert asked == [f"file:///page/{name}"]


def test_a_policy_that_is_kept(chromium: Browser) -> None:
    """The browser's word that no other program would run, and nothing would be fetched."""
    opened(chromium, "image.html")
    chromium.ask("document.body.append(Object.assign(document.createElement('script'),"
                 f"{{textContent: '{RUNS}'}}))")  # fmt: skip
    chromium.ask("document.body.append(Object.assign(document.createElement('img'),"
                 "{src: 'file:///page/app'}))")  # fmt: skip
    time.sleep(0.3)
    assert chromium.ask("window.pwned") is None
    told = " ".join(chromium.complaints())
    assert "script-src" in told and ("img-src" in told or "default-src" in told)


def test_what_is_wasted_and_whose_files_are(chromium: Browser) -> None:
    opened(chromium, "image.html")
    wasted = {row[0]: row[1:] for row in rows(chromium, "waste")}
    lower, upper = wasted["/usr/lib/gone"][1:]
    assert wasted["/usr/lib/gone"][0] == "50.0 kB" and upper != lower
    assert wasted["/usr/lib/old"] == ["9.0 kB", lower, upper]
    assert wasted["/tree/in/leaf"] == ["7.0 kB", lower, upper]
    assert "3 files of 66.0 kB" in chromium.ask("document.getElementById('waste').textContent")
    assert ["90.0 kB", "2", "/again/usr/lib/big.so.1"] in rows(chromium, "waste")
    big = next(row for row in rows(chromium, "files") if row[0] == "/usr/lib/big.so.1")
    assert big[3] == "base" and big[4] in lower
    assert [row[3] for row in rows(chromium, "history")] == ["0 B", "66.0 kB"]
    (found,) = search(chromium, "packages", "pkg:deb base")
    assert found[:3] == ["deb", "base", "1"]
    opened(chromium, "app.html")
    assert "inspect the image" in chromium.ask("document.getElementById('waste').textContent")


def test_the_keyboard(chromium: Browser) -> None:
    opened(chromium, "image.html")
    path = "document.querySelector('nav[aria-label=Path]').innerText.split(/\\s+/).join(' ')"
    here = "document.activeElement.getAttribute('aria-label')"
    assert chromium.ask(path) == "/"
    chromium.ask("document.querySelector('.map button').focus()")
    first = chromium.ask(here)
    chromium.press("ArrowRight")
    assert chromium.ask(here) != first
    chromium.ask("[...document.querySelectorAll('.map button')]"
                 ".find(b => b.ariaLabel.startsWith('usr:')).focus()")  # fmt: skip
    chromium.press("Enter", "\r")
    assert chromium.ask(path) == "/ usr" and chromium.ask(here).startswith("lib: 9")
    chromium.press("Enter", "\r")
    assert chromium.ask(path) == "/ usr / lib"
    chromium.press("Backspace")
    chromium.press("Backspace")
    assert chromium.ask(path) == "/"
    # One stop for the whole map, then the next thing on the page.
    assert chromium.ask("document.querySelectorAll('.map button[tabindex=\"0\"]').length") == 1


def test_a_screen_reader(chromium: Browser) -> None:
    """What the browser gives to one: everything that can be used has a role and a name."""
    opened(chromium, "image.html")
    nodes = chromium.call("Accessibility.getFullAXTree")["nodes"]
    found: dict[str, list[str]] = {}
    for node in nodes:
        if not node.get("ignored"):
            role = node["role"]["value"]
            found.setdefault(role, []).append(node.get("name", {}).get("value", ""))
    for role in ("button", "combobox", "searchbox", "link", "region", "heading"):
        assert found[role] and all(found[role]), (role, found[role])
    assert any(re.fullmatch(r"usr: 9\d\.\d kB, \d+ %, \d+ files", name) for name in found["button"])
    assert {"By", "Size"} <= {name.strip() for name in found["combobox"]}
    assert "columnheader" in found and "table" in found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_read(chromium: Browser, scheme: str) -> None:
    """The contrast that WCAG asks for, of texts with what is behind them."""
    chromium.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": scheme}])  # fmt: skip
    opened(chromium, "image.html")
    colours = chromium.ask(
        "['h1', 'header p', 'a', '.soft', '.map button', 'td button'].map(s => {"
        " let e = document.querySelector(s), ink = getComputedStyle(e).color, back;"
        " while (e && /rgba\\(0, 0, 0, 0\\)/.test(back = getComputedStyle(e).backgroundColor))"
        " e = e.parentElement; return [s, ink, back] })"
    )
    for where, ink, paper in colours:
        light, dark = sorted(map(luminance, (ink, paper)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (where, ink, paper)
    assert (luminance(colours[0][1]) > 0.5) == (scheme == "dark")


def luminance(colour: str) -> float:
    """Of WCAG 2, "relative luminance"."""
    parts = [int(number) / 255 for number in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def synthetic(count: int) -> dict[str, Any]:
    """Data of so many files, in directories of a hundred."""
    names, depths, sizes = [], [], []
    for number in range(count // 100):
        names.append(f"directory{number}")
        depths.append(0)
        sizes.append(-1)
        for inner in range(100):
            names.append(f"module_{number * inner % 977}_{inner}.py")
            depths.append(1)
            sizes.append(number * 7919 * (inner + 1) % 100_003 + 1)
    anatomy = {
        "names": "\n".join(names), "depths": depths, "sizes": sizes,
        "stored": [max(size // 3, 0) for size in sizes],
        "layers": [n % 3 for n in range(len(sizes))],
        "owners": [n % 50 for n in range(len(sizes))], "ownerNames": [f"p{n}" for n in range(50)],
        "duplicates": {"bytes": 0, "groups": 0, "listed": []}, "waste": None, "packages": [],
        "notes": [], "distribution": "", "layerNames": [["a", "x"], ["b", "y"], ["c", "z"]],
    }  # fmt: skip
    return {"inspection": {"image": {}, "signatures": []}, "history": [], "anatomy": anatomy}


def test_sizes_and_two_hundred_thousand_files(chromium: Browser, room: Path) -> None:
    assert len(page("x", "", synthetic(15_000))) < 500_000
    (room / "large.html").write_bytes(page("large", "", synthetic(200_000)))
    before = time.monotonic()
    opened(chromium, "large.html")
    chromium.ask("(s => { s.value = 'package'; s.dispatchEvent(new Event('change')) })"
                 "(document.getElementById('by-by'))")  # fmt: skip
    found = search(chromium, "files", "module_5_ directory19")
    assert found and all("module_5_" in row[0] for row in found)
    assert time.monotonic() - before < 15
    assert "It is not signed." in chromium.ask("document.getElementById('signatures').textContent")
    assert chromium.ask("document.querySelectorAll('*').length") < 6000


def test_signatures(chromium: Browser, room: Path) -> None:
    opened(chromium, "app.html")
    assert "It is not signed." in chromium.ask("document.getElementById('signatures').textContent")
    opened(chromium, "signed.html")
    words = ["ssh-keygen", "-l", "-f", str(room / "key.pub")]
    key = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[1]
    payload, both = (
        [["key", key], ["of", of], ["is the key's", "yes"]]
        for of in ("payload", "payload and runtime")
    )
    assert rows(chromium, "signatures") in (payload + both, both + payload)
    opened(chromium, "image.html")
    assert not chromium.ask("document.getElementById('signatures') !== null")


def test_pages_of_what_is_small_or_empty(tmp_path: Path, hello: Path) -> None:
    layout = write_layout(tmp_path / "empty", [tar_of(directory("d"))])
    for name in (hello, f"oci:{layout}"):
        dockerc("inspect", "--html", tmp_path / "page.html", name)
        text = (tmp_path / "page.html").read_text()
        assert text.startswith("<!doctype html>") and len(text) < 40_000
