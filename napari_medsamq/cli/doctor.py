"""`medsamq doctor`: what keeps the program from working on this computer."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from napari_medsamq.cli.common import say, user_errors
from napari_medsamq.diagnostics.doctor import Finding, Level, examine

_SIGNS = {Level.ok: "ok     ", Level.note: "NOTE   ", Level.problem: "PROBLEM"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Examine this computer: versions, processor, models, memory, folders, window, with cures.

    The exit status is 1 if something keeps the program from working.
    """
    findings = []
    with user_errors():
        for finding in examine():
            findings.append(finding)
            if not as_json:
                say(_line(finding))
    bad = [finding for finding in findings if finding.level is Level.problem]
    if as_json:
        content = {"works": not bad, "findings": [asdict(finding) for finding in findings]}
        typer.echo(json.dumps(content, indent=1))
    else:
        say(f"{len(bad)} problems." if bad else "Nothing keeps the program from working.")
    if bad:
        raise typer.Exit(1)


def _line(finding: Finding) -> str:
    cure = f"\n         {finding.cure}" if finding.cure else ""
    return f"{_SIGNS[finding.level]}  {finding.name}: {finding.found}{cure}"
