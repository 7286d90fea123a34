"""Tables of the command line."""

from callboard.cli.output import NAME_MAX, Form, show


def shown(capsys, names):
    show(names, {"queue": str, "ready": lambda _name: "1"}, Form.TABLE, id_of=str)
    return capsys.readouterr().out.splitlines()


def test_a_name_that_the_api_takes_is_shown_whole(capsys):
    name = "q" * NAME_MAX
    _, line, _ = shown(capsys, [name, "jobs"])
    assert line.split() == [name, "1"]


def test_a_name_without_end_does_not_fill_up_every_row_of_a_table(capsys):
    _, long, short = shown(capsys, ["q" * 1_000_000, "jobs"])
    assert long.split() == ["q" * (NAME_MAX - 1) + "…", "1"]
    assert len(short) < 2 * NAME_MAX


def test_a_text_without_end_is_no_million_lines(capsys):
    show(["x" * 1_000_000], {"name": lambda _: "n", "queues": str, "zone": str}, Form.TABLE, id_of=str)
    assert len(capsys.readouterr().out) < 100_000
