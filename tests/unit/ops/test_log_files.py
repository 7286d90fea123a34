"""The background worker's log files: the last lines of two files in order of time, and what comes after."""

from __future__ import annotations

import itertools

from callboard.processes.background import log_files


def line(second, text):
    return f'{{"event": "{text}", "timestamp": "2026-11-24T10:00:{second:02}.000001Z"}}'


def write(folder, name, *lines):
    with (folder / name).open("a") as file:
        file.writelines(f"{text}\n" for text in lines)


def test_the_last_lines_of_both_files_are_in_order_of_time(tmp_path):
    write(tmp_path, "out.log", line(1, "a"), line(3, "c"), line(5, "e"))
    write(tmp_path, "error.log", line(2, "b"), line(4, "d"))
    assert log_files.recent(tmp_path, 3) == [line(3, "c"), line(4, "d"), line(5, "e")]
    assert log_files.recent(tmp_path, 0) == []


def test_a_line_without_a_moment_stays_behind_the_one_before(tmp_path):
    write(tmp_path, "error.log", line(1, "failed"), "Traceback:", "  a frame")
    write(tmp_path, "out.log", line(2, "later"))
    assert log_files.recent(tmp_path, 10) == [line(1, "failed"), "Traceback:", "  a frame", line(2, "later")]


def test_a_long_file_is_read_from_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(log_files, "BLOCK_BYTES", 100)
    write(tmp_path, "out.log", *(line(number % 60, f"n{number}") for number in range(200)))
    assert log_files.last_lines(tmp_path / "out.log", 2) == [line(18, "n198"), line(19, "n199")]
    assert len(log_files.last_lines(tmp_path / "out.log", 1000)) == 200


def test_there_are_no_lines_where_there_are_no_files(tmp_path):
    assert log_files.recent(tmp_path, 10) == []


def test_what_is_written_later_is_followed_also_in_a_new_file(tmp_path, monkeypatch):
    monkeypatch.setattr(log_files, "FOLLOW_INTERVAL_S", 0)
    write(tmp_path, "out.log", line(1, "before"))
    tail = log_files.follow(tmp_path)
    # A file that comes later, and half a line
    write(tmp_path, "error.log", line(2, "b"))
    write(tmp_path, "out.log", line(3, "c"))
    with (tmp_path / "out.log").open("a") as file:
        file.write('{"event": "half')
    assert list(itertools.islice(tail, 2)) == [line(2, "b"), line(3, "c")]
    # One that is rotated, and one that is emptied
    (tmp_path / "out.log").rename(tmp_path / "out.log.1")
    write(tmp_path, "out.log", line(4, "d"))
    (tmp_path / "error.log").write_text("")
    write(tmp_path, "out.log", line(5, "e"))
    assert list(itertools.islice(tail, 2)) == [line(4, "d"), line(5, "e")]


def test_a_line_that_comes_while_the_last_ones_are_read_is_shown_once(tmp_path, monkeypatch):
    monkeypatch.setattr(log_files, "FOLLOW_INTERVAL_S", 0)
    write(tmp_path, "out.log", line(1, "a"), line(2, "b"))
    tail = log_files.follow(tmp_path, 1)
    # Between the call and the first line that it gives, as between the two looks at a file
    write(tmp_path, "out.log", line(3, "c"))
    assert list(itertools.islice(tail, 2)) == [line(2, "b"), line(3, "c")]


def test_what_a_rotated_file_got_since_the_last_look_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(log_files, "FOLLOW_INTERVAL_S", 0)
    write(tmp_path, "out.log", line(1, "a"))
    tail = log_files.follow(tmp_path)
    write(tmp_path, "out.log", line(2, "b"))
    (tmp_path / "out.log").rename(tmp_path / "out.log.1")
    write(tmp_path, "out.log", line(3, "c"))
    assert list(itertools.islice(tail, 2)) == [line(2, "b"), line(3, "c")]


def test_half_a_line_is_shown_when_it_is_whole_and_not_before(tmp_path, monkeypatch):
    monkeypatch.setattr(log_files, "FOLLOW_INTERVAL_S", 0)
    write(tmp_path, "out.log", line(1, "a"))
    with (tmp_path / "out.log").open("a") as file:
        file.write(line(2, "b")[:20])
    tail = log_files.follow(tmp_path, 5)
    assert next(tail) == line(1, "a")
    with (tmp_path / "out.log").open("a") as file:
        file.write(line(2, "b")[20:] + "\n")
    assert next(tail) == line(2, "b")
