"""Who the process is: an image's `User` looked up in its own passwd and group files.

The rules are those of `GetExecUser` in moby/sys/user, which docker, runc and umoci share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from toolkit.errors import AbsentError, RefusedError
from toolkit.limits import MAX_USERS

ReadFile = Callable[[str], bytes | None]

_ID_LIMIT = 1 << 31  # moby/sys/user, maxID + 1


@dataclass(frozen=True)
class User:
    """Ids as inside the container; `home` as passwd states it, else `/`."""

    uid: int
    gid: int
    additional_gids: tuple[int, ...]
    home: str


@dataclass(frozen=True)
class _Account:
    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True)
class _Group:
    name: str
    gid: int
    members: tuple[str, ...]


def find_user(spec: str, read_file: ReadFile) -> User:
    """The user that `spec` names: empty for root, or `NAME|UID[:GROUP|GID]`.

    `read_file` gives a file of the image, or None. Raises DockercError when a name is unknown or
    an id out of range.
    """
    user_name, _, group_name = spec.partition(":")
    wanted_uid = _parse_id(user_name or "0", spec)
    account = next(
        (
            account
            for account in _accounts(read_file)
            if (account.name == user_name if wanted_uid is None else account.uid == wanted_uid)
        ),
        None,
    )
    if account is None:
        if wanted_uid is None:
            raise AbsentError(
                f"it is to run as user '{user_name}', who is not in the image's /etc/passwd"
            )
        account = _Account("", wanted_uid, 0, "/")
    if group_name:
        gid = _find_group(group_name, spec, read_file)
        return User(account.uid, gid, (), account.home)
    gids = [
        group.gid for group in _groups(read_file) if account.name and account.name in group.members
    ]
    return User(account.uid, account.gid, tuple(gids), account.home)


def _find_group(name: str, spec: str, read_file: ReadFile) -> int:
    gid = _parse_id(name, spec)
    if gid is not None:
        return gid
    for group in _groups(read_file):
        if group.name == name:
            return group.gid
    raise AbsentError(f"it is to run as group '{name}', which is not in the image's /etc/group")


def _parse_id(text: str, spec: str) -> int | None:
    """A numeric id; None for a name. A number is always an id, even where it is someone's name."""
    if not (text.isascii() and text.isdigit()):
        return None
    if len(text) > 10 or int(text) >= _ID_LIMIT:
        raise RefusedError(f"the image's user '{spec}' has an id beyond {_ID_LIMIT - 1}")
    return int(text)


def _accounts(read_file: ReadFile) -> Iterator[_Account]:
    """passwd(5): NAME:PASSWORD:UID:GID:GECOS:HOME:SHELL."""
    for fields in _lines("/etc/passwd", read_file, 6):
        if _is_id(fields[2]) and _is_id(fields[3]):
            yield _Account(fields[0], int(fields[2]), int(fields[3]), fields[5])


def _groups(read_file: ReadFile) -> Iterator[_Group]:
    """group(5): NAME:PASSWORD:GID:MEMBERS."""
    for fields in _lines("/etc/group", read_file, 4):
        if _is_id(fields[2]):
            yield _Group(fields[0], int(fields[2]), tuple(fields[3].split(",")))


def _is_id(text: str) -> bool:
    """moby/sys/user takes what is no number for 0, that is root; such a line is left out here."""
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < _ID_LIMIT


def _lines(path: str, read_file: ReadFile, width: int) -> Iterator[list[str]]:
    """The fields of each line, padded to `width`."""
    data = read_file(path) or b""
    if len(data) > MAX_USERS:
        raise RefusedError(
            f"the image's {path} has {len(data)} bytes; at most {MAX_USERS} are read"
        )
    # Names in other encodings are never asked for; what stands in for them must only not fail.
    for line in data.decode("utf-8", "replace").split("\n"):
        if line.strip():
            fields = line.strip().split(":")
            yield fields + [""] * (width - len(fields))
