"""Templates of `inspect --format`: what docker users write, and what is refused by name."""

from __future__ import annotations

import pytest

from toolkit.commands.docker_names import with_docker_names
from toolkit.commands.template import render
from toolkit.errors import UsageError


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{json .Config.Env}}", '["PATH=/bin", "A=1"]'),
        (
            "{{.Config.Env}}{{.Config.Labels}}",
            '["PATH=/bin", "A=1"]{"b.c": "Y", "a": "x"}',
        ),
        ("{{range .Config.Env}}<{{.}}>{{end}}", "<PATH=/bin><A=1>"),
        ("{{range $i, $e := .Config.Env}}{{if $i}},{{end}}{{$e}}{{end}}", "PATH=/bin,A=1"),
        ("{{range $k, $v := .Image.Labels}}{{$k}}={{$v}};{{end}}", "a=x;b.c=Y;"),
        ("{{range .Image.Ports}}x{{else}}none{{end}}", "none"),
        ('{{index .Config.Labels "b.c"}}', "Y"),
        ('{{index .Config.Labels "none"}}', ""),
        ("{{index .Config.Env 1}}", "A=1"),
        ('{{join .Config.Env "|"}}', "PATH=/bin|A=1"),
        ('{{.Config.Env | join "|" }}', None),
        ('{{len .Config.Env}} {{len "é"}} {{len .Image.Labels}}', "2 2 2"),
        ('{{upper "aé"}}{{lower "AB"}}{{title "ab"}}', "AÉabAb"),
        ('{{.Os | upper | printf "%s!"}}', "LINUX!"),
        ('{{println "a" 1}}{{print "a" 1 2 "b"}}', "a 1\na1 2b"),
        (
            '{{printf "%s|%5d|%-4s|%q|%x|%t|%%|%v" .Os 7 "a" "b" 255 true .Config.Cmd}}',
            'linux|    7|a   |"b"|ff|true|%|["run"]',
        ),
        ('{{if eq .Os "windows" "linux"}}yes{{else}}no{{end}}', "yes"),
        ("{{if .Author}}a{{else if .Os}}b{{else}}c{{end}}", "b"),
        ("{{if .Author}}a{{else if .Variant}}b{{else}}c{{end}}!", "c!"),
        ("{{if and (gt (len .Config.Env) 1) (not .Author)}}y{{end}}", "y"),
        ("{{if or (lt 2 1) (le 1 1)}}y{{end}}{{if ne 1 1}}n{{end}}{{ge 2 1}}", "ytrue"),
        ("{{with .Config}}{{.WorkingDir}}{{end}}{{with .Author}}x{{else}}-{{end}}", "/w-"),
        ("{{with $x := .Os}}{{$x}}{{end}}", "linux"),
        ("{{$x := 1}}{{range .Config.Env}}{{$x = .}}{{end}}{{$x}}", "A=1"),
        ("{{range .Config.Env}}{{$.Os}} {{end}}", "linux linux "),
        ("a {{- /* comment */ -}} b", "ab"),
        ('a {{- 1 -}} b {{`raw"`}}', 'a1b raw"'),
        ("{{.RootFS.Type}} {{len .RootFS.Layers}} {{.Id}}", None),
        ('{{slice "abcdef" 1 3}}{{truncate "abc" 2}}{{pad "x" 1 2}}|', "bcab x  |"),
        ('{{index (split "a:b" ":") 1}}', "b"),
        ("{{}}", "is empty"),
        ("{{end}}", "an end has no"),
        ("{{else}}", "an else has no"),
        ("{{if .Os}}", "if has no end"),
        ("{{if .Os}}{{else}}{{else}}{{end}}", "an else has no"),
        ("{{if}}{{end}}", "a value is missing"),
        ('{{define "x"}}{{end}}', "define is not supported"),
        ('{{template "x"}}', "template is not supported"),
        ("{{html .Os}}", "no function html; there are and, eq,"),
        ("{{.Os .Os}}", "cannot take arguments"),
        ("{{len}}", "len cannot take 0 arguments"),
        ("{{len 5}}", "len takes an array or an object, not 5"),
        ('{{printf "%z" 1}}', "printf has no %z"),
        ('{{printf "%d" "a"}}', "takes a number"),
        ('{{printf "%9999d" 1}}', "at most 1000"),
        ('{{printf "%s"}}', "fewer values"),
        ('{{lt 1 "a"}}', "lt compares two numbers or two strings"),
        ("{{index .Config.Env 9}}", "index 9 of an array of 2"),
        ("{{range .Os}}{{end}}", "range takes an array"),
        ("{{.Nope}}", "there is no .Nope; there is .image"),
        ("{{$y}}", "there is no variable $y"),
        ("{{(.Os}}", "a parenthesis is not closed"),
        ("{{" + "(" * 60 + "1" + ")" * 60 + "}}", "too many parentheses"),
        ("{{if 1}}" * 60, "too many actions"),
        ("{{.Os", "is not closed"),
        ("{{.Os ~}}", "cannot read '~"),
        ('{{slice "a" 3}}', "past the end"),
    ],
)
def test_what_templates_can(template: str, expected: str | None) -> None:
    image = {
        "reference": "oci:x", "digest": "sha256:1", "os": "linux", "architecture": "amd64",
        "variant": None, "created": None, "author": None, "labels": {"b.c": "Y", "a": "x"},
        "entrypoint": None, "cmd": ["run"], "env": ["PATH=/bin", "A=1"], "workdir": "/w",
        "user": None, "volumes": ["/v"], "ports": [], "stop_signal": None, "size": 5,
    }  # fmt: skip
    facts = with_docker_names(
        {"image": image, "layers": [{"diff_id": "sha256:2"}], "config": {"x": 1}}
    )
    try:
        text = render(template, facts)
    except UsageError as error:
        text = str(error)
        assert text.startswith("--format: ")
    if expected is not None:
        assert expected in text if text.startswith("--format: ") else text == expected
    elif "RootFS" in template:
        assert text == "layers 1 sha256:1"
    else:
        assert "join takes" in text


def test_a_text_that_doubles_has_a_bound() -> None:
    loops, ends = "{{range $.l}}" * 2, "{{end}}" * 2
    template = f'{{{{$x := "aaaa"}}}}{loops}{{{{$x = printf "%s%s" $x $x}}}}{ends}'
    assert render(template, {"l": [1] * 4}) == ""
    with pytest.raises(UsageError, match="printf takes at most 16 MiB of text"):
        render(template, {"l": [1] * 8})
