"""`callboard …`: one command for developers and operators."""

try:
    from callboard.cli.main import app, main
except (ModuleNotFoundError, FileNotFoundError) as error:
    from callboard.cli.command_line.base_install import refusal

    main = refusal(error)

__all__ = ["app", "main"]
