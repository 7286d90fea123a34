"""What the pages name exists: links, commands, targets, tests, paths, actors, templates."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import dramatiq

import actors
from callboard.cli.command_line.habits import translated
from callboard.mail.rendering import template_names
from tests.unit.pages import DOCS, PAGE, PAGES, ROOT, commands, names_of, rows_of, text_of


def mentions_of_callboard(text: str) -> set[str]:
    """Return what follows "callboard" in commands: in code spans and in lines of shell blocks."""
    lines = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    for block in re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        lines += block.splitlines()
    found = set()
    for line in lines:
        found |= {
            match.strip() for match in re.findall(r"(?<!-n )(?:^|(?<=[\s|/]))callboard((?: [a-z][a-z:-]*)+)", line)
        }
    return found


@PAGE
def test_every_command_on_a_page_exists(page):
    known = commands(has_aliases=True)
    groups = {name.split()[0] for name in known if " " in name}
    for mention in mentions_of_callboard(page.read_text(encoding="utf-8")):
        words = translated(mention.split())
        is_group = len(words) == 1 and words[0] in groups
        assert is_group or words[0] in known or " ".join(words[:2]) in known, f"callboard {mention}"


@PAGE
def test_every_make_target_on_a_page_exists(page):
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"`make ([a-z-]+)", text)) | set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE))
    assert named - targets == set()


def test_contributing_lists_every_make_target():
    listed = set(re.findall(r"^\| `make ([a-z-]+)`", text_of("CONTRIBUTING.md"), re.MULTILINE))
    assert listed == set(re.findall(r"^([a-z-]+):.*## ", text_of("Makefile"), re.MULTILINE))


@PAGE
def test_every_link_leads_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if path.startswith(("http://", "https://")):
            continue
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {re.sub(r"[^\w\- ]", "", h).lower().replace(" ", "-") for h in headings}, target


def test_every_page_is_linked_from_the_readme():
    readme = text_of("README.md")
    for page in [*DOCS.glob("*.md"), DOCS / "decisions/README.md", *ROOT.glob("*.md")]:
        assert (page.name == "README.md" and page.parent == ROOT) or f"({page.relative_to(ROOT)})" in readme, page


def test_every_decision_is_in_the_index():
    index = text_of("docs/decisions/README.md")
    for page in (DOCS / "decisions").glob("[0-9]*.md"):
        assert f"[{page.name[:4]}]({page.name})" in index


def test_every_test_that_proves_a_promise_exists():
    tests = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        tests |= set(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8"))) - {
            "test_a_refused_mailbox_is_permanent"
        }
        assert named - tests == set(), page
    rows = rows_of("docs/message-lifecycle.md", section="What is promised, and what proves it")
    assert len(rows) > 10 and all(names_of([row], 1) for row in rows)


@PAGE
def test_every_path_of_this_repository_on_a_page_exists(page):
    top = r"(?:actors|middleware|callboard|tests|k8s|docs|examples|\.ci)"
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(rf"(?<![\w./-])({top}/[\w./-]*\w/?)", text))
    made_by_readers = {"k8s/secret.env", "docs/decisions/"}
    missing = {path for path in named - made_by_readers if not (ROOT / path).exists()}
    assert {path for path in missing if "NNNN" not in path and "callboard/db/sql" not in path} == set()


def test_the_layout_in_the_readme_names_every_package_and_folder():
    folders = {name.rstrip("/") for name in names_of(rows_of("README.md", section="Where things are"))}
    packages = {f"callboard/{path.parent.name}" for path in (ROOT / "callboard").glob("*/__init__.py")}
    assert packages <= folders
    assert {path for path in folders if not (ROOT / path).is_dir()} == set()


def test_the_actors_and_templates_that_pages_name_exist():
    names = {name for name in actors.__all__ if isinstance(getattr(actors, name), dramatiq.Actor)}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        imported = {name.strip() for line in re.findall(r"from actors import (.+)", text) for name in line.split(",")}
        assert imported <= names, page
        assert set(re.findall(r"template=?\"?(?:\":)? ?\"(\w+)\"", text)) - {"welcom"} <= set(template_names()), page
    (listed,) = re.findall(r"^The templates are (.*?);", text_of("docs/quickstart.md"), re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", listed)) == template_names()
    assert names <= set(re.findall(r"`(\w+)`", text_of("CHANGELOG.md")))


def test_python_on_the_pages_compiles():
    for page in PAGES:
        for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            compile(block, str(page), "exec")


def test_the_picture_of_the_road_is_whole_and_says_what_it_shows():
    tree = ET.parse(DOCS / "pictures/road.svg")  # noqa: S314 - a file of this repository
    names = {element.tag.rpartition("}")[2] for element in tree.iter()}
    assert {"title", "desc", "style"} <= names
    assert not names & {"script", "image", "foreignObject"}
    assert "prefers-color-scheme: dark" in text_of("docs/pictures/road.svg")


@PAGE
def test_a_page_is_written_plainly(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"\b(simply|easily|powerful|seamless\w*|robust|blazing\w*|awesome|just works)\b", text)
    assert text.startswith("# ")


def test_the_readmes_figures_are_those_of_the_last_published_run():
    report = text_of("docs/benchmarks.md").partition("<!-- report -->")[2]
    [others] = re.findall(r"Why not one of the others\?.*?\n\n(.*?)\n\n", text_of("README.md"), re.DOTALL)
    figures = re.findall(r"\d[\d,.]*\d", others)
    assert len(figures) >= 5
    assert [figure for figure in figures if f"| {figure} |" not in report] == []
