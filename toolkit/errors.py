"""Every error that a user may meet: one sentence that says what, where and what to do."""


class DockercError(Exception):
    """The command cannot go on. Its text is shown as it stands; the exit status is 1."""

    exit_status = 1


class UsageError(DockercError):
    """The command line itself is wrong. The exit status is 2."""

    exit_status = 2
