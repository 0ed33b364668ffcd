"""Accounts of an image, at the limits of what an id is and of what is read."""

from __future__ import annotations

import pytest

from toolkit.bundle import users
from toolkit.bundle.users import User, find_user
from toolkit.errors import AbsentError, RefusedError

MOST = (1 << 31) - 1


def found(spec: str, passwd: str = "", group: str = "") -> User:
    files = {"/etc/passwd": passwd.encode(), "/etc/group": group.encode()}
    return find_user(spec, files.get)


@pytest.mark.parametrize("number", [0, 1, 999_999_999, 1_000_000_000, MOST])
def test_ids(number: int) -> None:
    assert found(f"{number}:{number}") == User(number, number, (), "/")
    named = found("a:g", f"a:x:{number}:5::/h", f"g:x:{number}:")
    assert named == User(number, number, (), "/h")
    # Ten digits at most; zeros before them count.
    assert found(f"{number:010}") == User(number, 0, (), "/")


@pytest.mark.parametrize("text", [str(MOST + 1), "00000000001", "9" * 99])
def test_ids_that_cannot_be(text: str) -> None:
    for spec in (text, f"0:{text}"):
        with pytest.raises(RefusedError, match=f"an id beyond {MOST}"):
            found(spec)
    # A line that has one is no account: what is no number would be root's.
    with pytest.raises(AbsentError, match="user 'a'"):
        found("a", f"a:x:{text}:0::/h")
    with pytest.raises(AbsentError, match="user 'a'"):
        found("a", f"a:x:0:{text}::/h")
    with pytest.raises(AbsentError, match="group 'g'"):
        found("0:g", "", f"g:x:{text}:")


def test_lines_that_lack_fields() -> None:
    assert found("a", "a:x:5:6") == User(5, 6, (), "")
    assert found("a", "\n  a:x:5:6:comment:/h:/bin/sh  \n\n") == User(5, 6, (), "/h")
    with pytest.raises(AbsentError):
        found("a", "a:x:5")


def test_groups_that_have_the_user_as_a_member() -> None:
    group = "one:x:1:a,b\ntwo:x:2:b\nthree:x:3:a\nfour:x:x:a\nfive:x:5\n"
    assert found("a", "a:x:9:9::/h", group) == User(9, 9, (1, 3), "/h")
    assert found("9", "a:x:9:9::/h", group) == User(9, 9, (1, 3), "/h")
    assert found("a:two", "a:x:9:9::/h", group) == User(9, 2, (), "/h")
    assert found("8", "a:x:9:9::/h", "g:x:7:,\n") == User(8, 0, (), "/")
    assert found(":two", "", group) == User(0, 2, (), "/")


def test_the_size_of_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    passwd = "a:x:5:6::/h\n"
    monkeypatch.setattr(users, "MAX_USERS", len(passwd))
    assert found("a", passwd).uid == 5
    with pytest.raises(RefusedError, match="has 13 bytes; at most 12"):
        found("a", passwd + "\n")
