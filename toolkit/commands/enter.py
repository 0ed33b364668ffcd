"""`dockerc exec`: a command in a run."""

from __future__ import annotations

from typing import Annotated

import typer

from toolkit.errors import UsageError

SETTINGS = {
    "context_settings": {
        "allow_interspersed_args": False,
        "ignore_unknown_options": True,
        "help_option_names": ["--help"],
    }
}
_TAKE_VALUES = ("-e", "--env", "--env-file", "-u", "--user", "--group-add", "-w", "--workdir")


def enter(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[OPTIONS] NAME|PID COMMAND [ARGS]",
            help="-e, --env-file, -u, --group-add, -w, as for docker exec; the run; the command.",
        ),
    ],
) -> None:
    """Run a command in a run, with its environment, user, rights and limits.

    dockerc exec web sh

    dockerc exec -u root -e A=1 web sh -c 'id; env'
    """
    from toolkit.services.instances import become_run, choose_run, find_runs

    at = 0
    while at < len(words) and words[at].startswith("-"):
        at += 2 if words[at] in _TAKE_VALUES else 1
    if at + 1 >= len(words):
        raise UsageError("name a run and a command: `dockerc exec [OPTIONS] NAME|PID COMMAND`")
    run = choose_run(find_runs(), words[at])
    become_run(run, ["--dockerc-exec", *words[:at], str(run.pid), "--", *words[at + 1 :]])
