"""`python -m tests.docs.option_tables`: writes what each command says of itself into the pages.

In a page it stands between `<!-- options: medsamq COMMAND -->` and `<!-- end of options -->`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

import napari_medsamq
from napari_medsamq.cli.main import app

DOCS = Path(napari_medsamq.__file__).parent / "docs"
PAGES = (DOCS / "command_line.md", DOCS / "cohorts.md")
# What typer calls the kinds of values, and what a reader does.
KINDS = (
    ("<(list\\[)?str]?>", "TEXT"),
    ("<path>|<list\\[Path]>", "PATH"),
    ("<(int|float) range>", "NUMBER"),
)
BLOCK = re.compile("(<!-- options: ([a-z ]+) -->\n).*?(<!-- end of options -->)", re.DOTALL)


def option_tables() -> dict[str, str]:
    """Purpose, usage, arguments and options of each command, as Markdown, by its words."""
    program: Any = typer.main.get_command(app)
    return dict(_below(program, typer.Context(program, info_name="medsamq")))


def with_tables(page: str) -> str:
    """The text of a page, with all tables in it as the commands are now."""
    found = option_tables()
    return BLOCK.sub(lambda block: block[1] + found[block[2]] + block[3], page)


def _below(group: Any, context: typer.Context) -> Iterator[tuple[str, str]]:
    for name in group.list_commands(context) if hasattr(group, "commands") else ():
        command = group.get_command(context, name)
        own = typer.Context(command, info_name=name, parent=context)
        yield own.command_path, _table(command, own)
        yield from _below(command, own)


def _table(command: Any, context: typer.Context) -> str:
    records = [param.get_help_record(context) for param in command.get_params(context)]
    rows = [
        "| `{}` | {} |".format(*(" ".join(text.split()).replace("|", r"\|") for text in record))
        for record in records
        if record and record[0] != "--help"
    ]
    for kind, word in KINDS:
        rows = [re.sub(kind, word, row) for row in rows]
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    head = (command.help, "", "```", usage, "```", "", "| option | meaning |", "|---|---|")
    return "\n".join((*head, *rows, ""))


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
