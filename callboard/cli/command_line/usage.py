"""How a command line that cannot be meant is answered: with the thing, the value, and what would be right."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from typer.core import TyperArgument
from typer.exceptions import TyperException

from callboard.cli.command_line import habits
from callboard.cli.output import note

EXIT_USAGE = 2
#: What the library says, and how we say it.
_SENTENCES = (
    (re.compile(r"Value error, "), ""),
    (re.compile(r"Input should be a valid (integer|number).*"), r"must be a number"),
    (re.compile(r"Input should be greater than or equal to (\S+)"), r"must be \1 or more"),
    (re.compile(r"Input should be less than or equal to (\S+)"), r"must be \1 or less"),
    (re.compile(r"Input should be greater than (\S+)"), r"must be more than \1"),
)


def name_arguments(command: Any) -> Any:
    """Give every argument the name that help and errors call it by; the code's own is nobody's business."""
    for parameter in command.params:
        if isinstance(parameter, TyperArgument) and parameter.metavar is None:
            parameter.metavar = (parameter.name or "").strip("_").upper()
    for child in getattr(command, "commands", {}).values():
        name_arguments(child)
    return command


def run(command: Any, words: Sequence[str]) -> int:
    """Run a command line and return its exit code."""
    words = habits.translated(words)
    if answer := habits.answer_to(words):
        note(answer)
        return EXIT_USAGE
    try:
        code = command.main(args=words, prog_name="callboard", standalone_mode=False)
    except TyperException as error:
        for line in _answer(error, words):
            note(line)
        return error.exit_code
    return code if isinstance(code, int) else 0


def _answer(error: TyperException, words: Sequence[str]) -> Iterator[str]:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        yield error.format_message()
        return
    if context is not None:
        yield context.get_usage()
        yield f"Try '{context.command_path} --help' for help.\n"
    text = error.format_message()
    for pattern, ours in _SENTENCES:
        text = pattern.sub(ours, text)
    text = f"{text.rstrip('.')}{_got(error, words)}"
    yield f"Error: {text}{'' if text.endswith('?') else '.'}{_meant(error, context)}"


def _got(error: TyperException, words: Sequence[str]) -> str:
    """Show the value of an option that is refused."""
    names = getattr(getattr(error, "param", None), "opts", ())
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names and not getattr(error, "message", "").startswith("Value error"):
            return (
                f", got {(value if equals else words[place + 1 : place + 2][0])!r}"
                if equals or words[place + 1 :]
                else ""
            )
    return ""


def _meant(error: TyperException, context: Any) -> str:
    """Name the verb of ours for one of another queue, where no verb here is like it."""
    found = re.fullmatch(r"No such command '(.*)'\.?", error.format_message())
    if found is None or context is None:
        return ""
    verb = habits.meant(found[1])
    return f" Did you mean: callboard {verb}" if verb else f" All of them: {context.command_path} --help"
