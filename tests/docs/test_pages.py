"""What the pages say of files, commands and names is true."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from itertools import chain
from pathlib import Path
from symtable import symtable

from markdown_it import MarkdownIt
from markdown_it.token import Token

import napari_medsamq
from tests.docs.option_tables import BLOCK, DOCS, PAGES, option_tables, with_tables

ROOT = Path(__file__).parents[2]
FOLDERS = (".github", "napari_medsamq", "training", "tests")
ALL = [*ROOT.glob("*.md"), *(path for name in FOLDERS for path in (ROOT / name).rglob("*.md"))]


@cache
def tokens(path: Path) -> list[Token]:
    """What a page consists of, with what its lines of text consist of."""
    blocks = MarkdownIt().enable("table").parse(path.read_text(encoding="utf-8"))
    return [token for block in blocks for token in (block, *(block.children or ()))]


@cache
def anchors(path: Path) -> set[str]:
    """Where in a page a link can lead: its headings, as GitHub names them."""
    found, seen = set(), Counter[str]()
    for heading, line in zip(tokens(path), tokens(path)[1:], strict=False):
        if heading.type == "heading_open":
            words = "".join(child.content for child in line.children or ())
            slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
    return found


def test_every_link_and_picture_leads_somewhere() -> None:
    broken = []
    for page in ALL:
        for token in tokens(page):
            target = str(token.attrs.get("href", token.attrs.get("src", "")))
            if not target or re.match("https?://", target):
                continue
            path, _, anchor = target.partition("#")
            file = page.parent / path if path else page
            if not file.exists() or (anchor and anchor not in anchors(file)):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def test_the_pages_name_every_option_of_every_command() -> None:
    texts = [path.read_text(encoding="utf-8") for path in PAGES]
    assert sorted(found[2] for text in texts for found in BLOCK.finditer(text)) == sorted(
        option_tables()
    )
    for path, text in zip(PAGES, texts, strict=True):
        assert with_tables(text) == text, (
            f"{path.name} is not current; run: python -m tests.docs.option_tables"
        )


def test_examples_in_python_import_what_there_is() -> None:
    missing = []
    for page in ALL:
        code = [token for token in tokens(page) if token.type == "fence" and token.info == "python"]
        for node in (node for example in code for node in ast.walk(ast.parse(example.content))):
            if not isinstance(node, ast.ImportFrom):
                continue
            folder, *inside = str(node.module).split(".")
            if folder in FOLDERS:
                file = ROOT.joinpath(folder, *inside).with_suffix(".py")
                text = file.read_text(encoding="utf-8") if file.exists() else ""
                there = symtable(text, file.name, "exec").get_identifiers()
                missing += [
                    f"{page.name}: {own.name}" for own in node.names if own.name not in there
                ]
    assert missing == []


def test_the_page_for_scripts_names_all_that_is_public_and_nothing_else() -> None:
    text = (DOCS / "python.md").read_text(encoding="utf-8")
    public = set(napari_medsamq.__all__) - {"__version__"}
    assert {name for name in public if not re.search(rf"\b{name}\b", text)} == set()
    used = [re.findall(r"\bmq\.(\w+)", page.read_text(encoding="utf-8")) for page in ALL]
    assert set(chain.from_iterable(used)) <= public


def test_the_first_page_is_read_in_one_sitting() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200
