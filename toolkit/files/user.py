"""Who we are, where files have owners."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any


def user_id() -> int | None:
    """The effective user's number (geteuid(2)); None where users have none, as on Windows."""
    geteuid = getattr(os, "geteuid", None)
    return geteuid() if geteuid else None


def group_id() -> int | None:
    """The effective group's number, likewise."""
    getegid = getattr(os, "getegid", None)
    return getegid() if getegid else None


def user_name(user: int) -> str:
    """The name of a user with a number; raises KeyError where there is none."""
    name: str = import_module("pwd").getpwuid(user).pw_name
    return name


def is_root() -> bool:
    """Whether we may give files to other users."""
    return user_id() == 0


def is_own(status: os.stat_result) -> bool:
    """Whether it is the user's; always so where files have no owner's number."""
    return user_id() in (None, status.st_uid)


def change_owner(target: int | str | Path, user: int, group: int, **named: Any) -> None:
    """os.chown, where files have owners; raises OSError."""
    if chown := getattr(os, "chown", None):
        chown(target, user, group, **named)
