"""An image with files that not every system can have, and everything that is done with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from layout import directory, entry, file, hard_link, noise, symlink, tar_of, write_layout
from support import dockerc

LINES = b"unix\ndos\r\nend of text\x1aand more\r"
LARGE = noise(900_000, 1) + bytes(3 << 20) + b"end"


def odd_image(path: Path) -> str:
    """An image with files of each kind, some of which Windows cannot have."""
    base = tar_of(
        directory("etc"),
        file("etc/passwd", b"root:x:0:0::/root:/bin/sh\n"),
        directory("deep"),
        directory("deep/er"),
        file("deep/er/lines", LINES, mode=0o640),
        file("large", LARGE),
        hard_link("deep/other-name", "large"),
        symlink("link", "/deep/er/lines"),
        file("usr", b"setuid", mode=0o4755, uid=7, gid=8),
    )
    odd = tar_of(
        directory("odd"),
        file("odd/Case", b"1"),
        file("odd/case", b"2"),
        directory("odd/CASE"),
        file("odd/CASE/below", b"3"),
        file("odd/a:stream", b"4"),
        file("odd/con.txt", b"5"),
        file("odd/..\\..\\escaped", b"6"),
        file("odd/dot.", b"7"),
        (entry("odd/pipe", b"6"), b""),
        file("odd/fine", b"8"),
    )
    config = {"Cmd": ["/bin/x"], "Env": ["A=→ ü"], "Labels": {"title": "日本"}}
    return f"oci:{write_layout(path, [base, odd], config)}"


def contents(top: Path) -> dict[str, bytes]:
    return {str(p.relative_to(top)): p.read_bytes() for p in top.rglob("*") if p.is_file()}


def everything(work: Path, image: str, options: dict[str, Any]) -> dict[str, Any]:
    """What each command makes and prints, with work as the directory."""

    def run(*words: str) -> str:
        done = dockerc(*words, cwd=work, **options)
        return str(done.stdout)

    work.mkdir()
    run("build", "-q", image, "-o", "app")
    built = dockerc("build", image, "-o", "again", cwd=work, **options)
    assert "2 of 2 layers cached" in built.stderr + built.stdout
    said = [run("inspect", "app"), run("inspect", "--json", "app"), run("verify", "app")]
    run("extract", "app", "squashfs")
    run("extract", "app", "--oci", "layout")
    run("extract", "app", "--docker-archive", "archive")
    run("replace", "app", "replaced")
    run("replace", "--in-place", "--arch", "arm64", "again")
    run("cp", "app:/etc/passwd", "passwd")
    run("edit", "app", "edited", "--env", "B=2")
    said += [run("ls", "app", "/deep"), run("cat", "app", "/deep/er/lines"), run("ls", "edited")]
    said += [run("diff", "app", "replaced"), run("history", "app")]
    made = contents(work)
    assert not [name for name in made if "/." in f"/{name}"], "something half-written was left"
    return made | {"said": said}
