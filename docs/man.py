"""`python docs/man.py`: writes docs/man/ and docs/man5/, the man pages, from what `--help` says.

A wheel brings them along, and `man dockerc-inspect` finds them where they are installed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from toolkit.bundle.run_options import RUN_OPTIONS  # noqa: E402
from toolkit.cli import application  # noqa: E402
from toolkit.commands.defaults import FILE, SETTINGS, SYSTEM, VM_SETTINGS, variable  # noqa: E402

_STATUSES = (
    ("0", "Done."),
    ("1", "Failed; a message on standard error says why."),
    ("2", "The command line is wrong."),
    ("128+N", "Ended by signal N."),
)
_OTHERS = {
    "dockerc diff": {
        "0": "The two are equal.",
        "1": "They differ.",
        "2": "They could not be compared, or the command line is wrong; a message on standard error"
        " says why.",
    },
    "dockerc verify": {
        "0": "No faults were found.",
        "1": "Faults were found: a line on standard error for each.",
    },
    "dockerc": {
        "1": "Failed; a message on standard error says why. For \\fBdockerc diff\\fR: they differ.",
        "2": "The command line is wrong. For \\fBdockerc diff\\fR: they could not be compared.",
    },
}
"""What a status means there instead."""

_RUN_STATUSES = (
    ("125", "The runtime failed, or the machine of \\-\\-vm."),
    ("126", "The program cannot be executed."),
    ("127", "The program does not exist."),
    ("128+N", "The program was ended by signal N."),
    (
        "other",
        "The program's own; 1 and 2 may also come from the build, as with \\fBdockerc build\\fR.",
    ),
)


def pages() -> dict[str, str]:
    """Every page's file name and text."""
    group: Any = typer.main.get_command(application())
    found = {"dockerc.1": _page("dockerc", group, sorted(_visible(group)))}
    for name, command in _visible(group):
        below = sorted(_visible(command))
        found[f"dockerc-{name}.1"] = _page(f"dockerc {name}", command, below)
        for sub, subcommand in below:
            page = f"dockerc {name} {sub}"
            found[f"{page.replace(' ', '-')}.1"] = _page(page, subcommand, [])
    return found


def configuration_page() -> str:
    """dockerc-config(5): defaults for `dockerc build` and `dockerc vm`."""
    lines = [
        '.TH "DOCKERC-CONFIG" 5 "" "dockerc" "File Formats"',
        ".SH NAME",
        "dockerc\\-config \\- defaults for dockerc build and dockerc vm",
        ".SH SYNOPSIS",
        f"{_escaped(str(SYSTEM))}, \\fI$XDG_CONFIG_HOME\\fR/dockerc/config.toml (~/.config)",
        ".SH DESCRIPTION",
        "The files are TOML with two tables, [build] and [vm]; unknown names are errors.",
        "The user's file overrides the machine's, an environment variable overrides both, and an",
        "option on the command line overrides all of them.",
        _escaped(f"{FILE} in the environment names a file that is read instead of them."),
        "In a variable, the strings of a list are separated by spaces.",
        "authfile, cert\\-dir, quiet and tls\\-verify are for dockerc push, pull and update, too.",
    ]
    lines += [".SH SETTINGS OF [build]", *_settings(SETTINGS)]
    lines += [".SH SETTINGS OF [vm]", *_settings(VM_SETTINGS)]
    lines += [
        ".SH EXAMPLES",
        ".nf",
        "[build]",
        "level = 19",
        _escaped('block-size = "1M"'),
        "[vm]",
        _escaped('kernel = "docker://linuxkit/kernel:6.6.71"'),
        ".fi",
        ".SH SEE ALSO",
        ".BR dockerc\\-build (1),",
        ".BR dockerc\\-vm (1)",
    ]
    return "\n".join(lines) + "\n"


def _settings(settings: Any) -> list[str]:
    lines = []
    for setting, (kind, meaning) in settings.items():
        value = {str: "string", int: "number", bool: "true|false", list: "[string, ...]"}[kind]
        name = f"\\fB{_escaped(setting)}\\fR = \\fI{value}\\fR"
        lines += [".TP", f"{name}, \\fB{_escaped(variable(setting))}\\fR"]
        lines.append(_escaped(f"As --{setting}: {meaning}."))
    return lines


def _visible(command: Any) -> list[tuple[str, Any]]:
    commands = getattr(command, "commands", {})
    return [(name, sub) for name, sub in commands.items() if not sub.hidden]


def _page(name: str, command: Any, below: list[tuple[str, Any]]) -> str:
    title, *paragraphs = (command.help or "").strip().split("\n\n")
    paragraphs = [" ".join(paragraph.split()) for paragraph in paragraphs]
    examples = [text for text in paragraphs if text.startswith("dockerc ")]
    lines = [
        f'.TH "{name.upper().replace(" ", "-")}" 1 "" "dockerc" "User Commands"',
        ".SH NAME",
        f"{_escaped(name.replace(' ', '-'))} \\- {_escaped(' '.join(title.split()).rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {_escaped(name)}",
        _escaped(" ".join(_usage(command))),
    ]
    if texts := [text for text in paragraphs if text not in examples]:
        lines += [".SH DESCRIPTION", "\n.PP\n".join(map(_escaped, texts))]
    if arguments := [p for p in command.params if p.param_type_name == "argument" and p.help]:
        lines.append(".SH ARGUMENTS")
        for argument in arguments:
            lines += [".TP", f"\\fI{_escaped(_argument(argument))}\\fR", _escaped(argument.help)]
    if options := [p for p in command.params if p.param_type_name == "option" and p.help]:
        lines.append(".SH OPTIONS")
        for option in options:
            value = "" if option.is_flag else f" \\fI{_escaped(_metavar(option))}\\fR"
            both = [*sorted(option.opts, key=len), *option.secondary_opts]
            names = ", ".join(f"\\fB{_escaped(opt)}\\fR" for opt in both)
            lines += [".TP", names + value, _escaped(option.help)]
    if name == "dockerc run":
        lines += [
            ".SH OPTIONS OF THE EXECUTABLE",
            "They stand before the image. An executable itself takes these and no others.",
        ]
        for each in RUN_OPTIONS:
            names = [f"\\-{each.short}"] if each.short else []
            names.append(_escaped(f"--{each.name}"))
            value = f" \\fI{_escaped(each.value)}\\fR" if each.value else ""
            bold = ", ".join(f"\\fB{one}\\fR" for one in names)
            lines += [".TP", bold + value, _escaped(each.help or "accepted and ignored")]
    if below:
        lines.append(".SH COMMANDS")
        for sub, subcommand in below:
            short = " ".join((subcommand.help or "").strip().split("\n\n")[0].split())
            lines += [".TP", f"\\fB{_escaped(sub)}\\fR", _escaped(short)]
    if examples:
        lines.append(".SH EXAMPLES")
        for example in examples:
            lines += [".PP", ".nf", _escaped(example), ".fi"]
    lines.append(".SH EXIT STATUS")
    runs = name in ("dockerc run", "dockerc vm")
    for status, meaning in _RUN_STATUSES if runs else _STATUSES:
        lines += [".TP", status, _OTHERS.get(name, {}).get(status, meaning)]
    dashed = name.replace(" ", "-")
    others = [] if name == "dockerc" else ["dockerc"]
    others += [f"{dashed}-{sub}" for sub, _ in below]
    lines += [".SH SEE ALSO", *(f".BR {_escaped(each)} (1)" for each in others)]
    return "\n".join(lines) + "\n"


def _usage(command: Any) -> Iterator[str]:
    yield "[OPTIONS]"
    if getattr(command, "commands", None):
        yield "COMMAND [ARGS]..."
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            yield _argument(parameter)


def _argument(parameter: Any) -> str:
    return str(parameter.metavar if parameter.required else f"[{parameter.metavar}]")


def _metavar(option: Any) -> str:
    # typer has carried a click of its own since 0.20, with another name for this.
    kind = getattr(option, "type_descriptor", None) or getattr(option, "type", None)
    if choices := getattr(kind, "choices", None):
        return "|".join(str(getattr(choice, "value", choice)) for choice in choices)
    return str(option.metavar or option.name.upper())


def _escaped(text: str) -> str:
    """For roff: hyphens are minus signs, and no line begins with a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


if __name__ == "__main__":
    target = ROOT / "docs" / "man"
    target.mkdir(exist_ok=True)
    for file, page in pages().items():
        (target / file).write_text(page)
    target = ROOT / "docs" / "man5"
    target.mkdir(exist_ok=True)
    (target / "dockerc-config.5").write_text(configuration_page())
