"""Profiles as text: what is one, what is refused and how, and that no text does anything else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.bundle import profile as module
from toolkit.bundle.profile import Line, Use, parse, read_profiles
from toolkit.errors import DamagedError, DockercError, RefusedError

HEAD = b"# dockerc profile 1\n"
WHOLE = (
    HEAD
    + b"""start /usr/bin/app
# a comment
name /
name /usr/a b\\x0a\\x5c
none /usr/\xff
list /usr

read 0+4096,8192+1 /usr/bin/app
start /bin/other
read 4095+2 /x
"""
)


def test_lines_are_uses() -> None:
    app, other = parse(WHOLE)
    assert (app.program, other.program) == (b"usr/bin/app", b"bin/other")
    assert app.lines == [
        Line(Use.NAME, b""),
        Line(Use.NAME, b"usr/a b\n\\"),
        Line(Use.NONE, b"usr/\xff"),
        Line(Use.LIST, b"usr"),
        Line(Use.READ, b"usr/bin/app", ((0, 1), (2, 1))),
    ]
    # A range that is not of whole pages takes all that it touches.
    assert other.lines == [Line(Use.READ, b"x", ((0, 2),))]


def test_profiles_one_after_the_other_are_one() -> None:
    assert parse(WHOLE + WHOLE) == parse(WHOLE) + parse(WHOLE)
    assert parse(WHOLE.replace(b"\n", b"\r\n")) == parse(WHOLE)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"name", "a path has to begin with /"),
        (b"name usr", "a path has to begin with /"),
        (b"name /a/../b", "no path of an image"),
        (b"name /a//b", "no path of an image"),
        (b"name /a\\x00", "no path of an image"),
        (b"name /" + b"n" * 256, "no path of an image"),
        (b"name " + b"/n" * 1025, "too long"),
        (b"name /a\\q", "behind a backslash"),
        (b"open /a", "'open' is not start, name, none, list or read"),
        (b"read /a", "is not OFFSET+LENGTH"),
        (b"read 0+0 /a", "no part of a file"),
        (b"read -1+2 /a", "is not OFFSET+LENGTH"),
        (b"read 17592186044415+2 /a", "no part of a file"),
        (b"read 0+1" + b",0+1" * 64 + b" /a", "is not OFFSET+LENGTH"),
    ],
)
def test_malformed_lines(line: bytes, sentence: str) -> None:
    with pytest.raises(DamagedError, match=r"^line 3: ") as caught:
        parse(HEAD + b"start /a\n" + line + b"\n")
    assert sentence in str(caught.value)


def test_ranges_at_the_limit() -> None:
    text = HEAD + b"start /a\nread 0+1" + b",0+1" * 63 + b" /a\nread 17592186044415+1 /a\n"
    assert len(parse(text)[0].lines) == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [(b"", "line 1"), (b"name /a", "line 1"), (HEAD + b"name /a", "line 2: the line `start`")],
)
def test_what_is_no_profile(text: bytes, sentence: str) -> None:
    with pytest.raises(DamagedError, match=sentence):
        parse(text)


def test_the_sentence_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(DockercError, match=r"--profile .*missing: there is no such file"):
        read_profiles([tmp_path / "missing"])
    (tmp_path / "wrong").write_bytes(HEAD + b"frob")
    with pytest.raises(DockercError, match=r"--profile .*wrong: line 2"):
        read_profiles([tmp_path / "wrong"])


def test_the_digest_is_of_the_text(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(WHOLE)
    two.write_bytes(WHOLE + b"# more\n")
    assert read_profiles([one]).digest != read_profiles([two]).digest
    assert read_profiles([one]).recordings == read_profiles([two]).recordings
    assert len(read_profiles([one, two]).recordings) == 4


def test_a_profile_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PROFILE", len(WHOLE))
    (tmp_path / "p").write_bytes(WHOLE)
    read_profiles([tmp_path / "p"])
    (tmp_path / "p").write_bytes(WHOLE + b"\n")
    with pytest.raises(RefusedError, match="more than"):
        read_profiles([tmp_path / "p"])


def test_the_lines_of_all_profiles_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p").write_bytes(WHOLE)
    monkeypatch.setattr(module, "MAX_USES", 12)
    read_profiles([tmp_path / "p"] * 2)
    monkeypatch.setattr(module, "MAX_USES", 11)
    with pytest.raises(RefusedError, match="more than 11 lines"):
        read_profiles([tmp_path / "p"] * 2)


@given(st.binary(max_size=300), st.integers(0, len(WHOLE)))
def test_any_bytes_are_a_profile_or_damage(data: bytes, at: int) -> None:
    for text in (data, HEAD + data, WHOLE[:at] + data + WHOLE[at:]):
        try:
            recordings = parse(text)
        except DamagedError:
            continue
        for recording in recordings:
            for line in recording.lines:
                assert not line.path.startswith(b"/") and b".." not in line.path.split(b"/")
                assert all(count > 0 for _, count in line.ranges)
