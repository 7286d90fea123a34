"""Files on disk and in S3, with a real HTTP conversation on loopback."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import boto3
import pytest

from callboard.errors import NotFound, PermanentError, TemporaryError
from callboard.reports import (
    StorageMisconfigured,
    StorageUnavailable,
    StoredFile,
    StoredFileDiffers,
    fetch,
    probe,
    remove_files,
    store,
)
from callboard.reports.storage import files as storage


@pytest.fixture
def folder(tmp_path):
    return f"file://{tmp_path}/reports"


def files_in(path):
    return sorted(str(file.relative_to(path)) for file in Path(path).rglob("*") if file.is_file())


def test_a_stored_file_is_found_again(folder):
    stored = store(folder, "id/register.pdf", b"content")
    assert stored == StoredFile("id/register.pdf", 7, hashlib.sha256(b"content").hexdigest())
    assert fetch(folder, stored.path) == b"content"


def test_a_relative_folder_lies_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store("file://.callboard/reports", "a.csv", b"x")
    assert (tmp_path / ".callboard/reports/a.csv").read_bytes() == b"x"


def test_a_repeat_writes_nothing(folder, tmp_path):
    store(folder, "a.csv", b"x")
    before = (tmp_path / "reports/a.csv").stat().st_mtime_ns
    assert store(folder, "a.csv", b"x").size_bytes == 1
    assert (tmp_path / "reports/a.csv").stat().st_mtime_ns == before


def test_other_content_never_replaces_a_file(folder):
    store(folder, "a.csv", b"first")
    with pytest.raises(StoredFileDiffers, match=r"a\.csv .* has other content and is kept"):
        store(folder, "a.csv", b"second")
    assert fetch(folder, "a.csv") == b"first"


def test_a_kill_while_writing_leaves_no_half_file_under_the_name(folder, tmp_path):
    program = (
        "import os, sys; from callboard.reports.storage import files as storage\n"
        "os.fsync = lambda _descriptor: os._exit(9)\n"
        "storage.store(sys.argv[1], 'a.csv', b'content')"
    )
    assert subprocess.run([sys.executable, "-c", program, folder], check=False).returncode == 9
    assert "reports/a.csv" not in files_in(tmp_path)
    store(folder, "a.csv", b"content")
    assert fetch(folder, "a.csv") == b"content"


def test_an_interrupted_write_leaves_nothing(folder, tmp_path, monkeypatch):
    def die(_descriptor):
        raise SystemExit

    monkeypatch.setattr(storage.os, "fsync", die)
    with pytest.raises(SystemExit):
        store(folder, "a.csv", b"content")
    monkeypatch.undo()
    assert files_in(tmp_path) == []
    store(folder, "a.csv", b"content")
    assert files_in(tmp_path) == ["reports/a.csv"]


@pytest.mark.parametrize(
    "path",
    [
        "../a",
        "a/../../b",
        "/etc/passwd",
        "",
        ".",
        "a//b",
        "a/.hidden",
        "a\x00b",
        "a\\..\\b",
        "a b",
        "..%2fa",
        "a\n",
        "~root/x",
    ],
)
def test_no_path_leads_out_of_the_storage(folder, tmp_path, path):
    for call in (lambda: store(folder, path, b"x"), lambda: fetch(folder, path)):
        with pytest.raises(PermanentError, match="stays inside the storage"):
            call()
    assert files_in(tmp_path) == []


def test_a_symbolic_link_does_not_lead_out_either(folder, tmp_path):
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/out").symlink_to("/etc")
    with pytest.raises(PermanentError, match="stays inside the storage"):
        fetch(folder, "out/passwd")


def test_a_folder_is_removed_with_all_files_and_nothing_beside_it(folder, tmp_path):
    for path in ("id/register.pdf", "id/register.csv", "id-2/register.pdf"):
        store(folder, path, b"content")
    remove_files(folder, "id")
    remove_files(folder, "id")
    assert files_in(tmp_path / "reports") == ["id-2/register.pdf"]


@pytest.mark.parametrize("path", ["", ".", "..", "/", "../other", "id/../.."])
def test_nothing_outside_of_the_storage_and_never_all_of_it_is_removed(folder, tmp_path, path):
    store(folder, "id/register.pdf", b"content")
    (tmp_path / "other").mkdir()
    with pytest.raises(PermanentError, match="stays inside the storage"):
        remove_files(folder, path)
    assert files_in(tmp_path) == ["reports/id/register.pdf"] and (tmp_path / "other").is_dir()


def test_a_missing_file_is_named(folder):
    with pytest.raises(NotFound, match=r"id/a\.pdf is not in file://"):
        fetch(folder, "id/a.pdf")


@pytest.mark.parametrize("url", ["reports", "/var/reports", "", "file://", "simplecache::s3://x/y"])
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(StorageMisconfigured, match="REPORT_STORAGE_URL must be a folder's URL"):
        store(url, "a.csv", b"x")


def test_an_unknown_scheme_is_refused_by_name():
    with pytest.raises(StorageMisconfigured, match=r"unknown scheme, got 'floppy://a'\. Use file:// or s3://"):
        store("floppy://a", "a.csv", b"x")


def test_a_secret_in_the_url_is_not_shown():
    with pytest.raises(StorageMisconfigured) as caught:
        store("floppy://name:hidden@host/a?token=hidden", "a.csv", b"x")
    assert "hidden" not in str(caught.value)


def test_a_file_where_the_folder_should_be_is_misconfigured(tmp_path):
    (tmp_path / "reports").write_text("a file")
    with pytest.raises(StorageMisconfigured, match="does not exist"):
        store(f"file://{tmp_path}/reports", "id/a.csv", b"x")


def test_a_full_disk_is_temporary(folder, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(StorageUnavailable, match="No space left on device"):
        store(folder, "a.csv", b"x")
    assert issubclass(StorageUnavailable, TemporaryError)


@pytest.fixture(scope="module")
def s3_server():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(monkeypatch, tmp_path):
    """Let s3:// mean the given server, with no credentials but the test's."""
    import s3fs

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    s3fs.S3FileSystem.clear_instance_cache()

    def use(endpoint, bucket=None):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        if bucket:
            request = urllib.request.Request(f"{endpoint}/{bucket}", method="PUT")
            urllib.request.urlopen(request).close()
        return "s3://" + (bucket or "shop") + "/reports"

    yield use
    s3fs.S3FileSystem.clear_instance_cache()


def test_s3_keeps_files_too(s3, s3_server):
    url = s3(s3_server, "kept")
    stored = store(url, "id/a.pdf", b"content")
    assert fetch(url, "id/a.pdf") == b"content"
    assert store(url, "id/a.pdf", b"content") == stored
    with pytest.raises(StoredFileDiffers):
        store(url, "id/a.pdf", b"other")
    with pytest.raises(NotFound):
        fetch(url, "id/b.pdf")
    keys = boto3.client("s3").list_objects_v2(Bucket="kept")["Contents"]
    assert [key["Key"] for key in keys] == ["reports/id/a.pdf"]


def test_s3_gives_up_a_report_with_all_files_and_nothing_beside_it(s3, s3_server):
    url = s3(s3_server, "emptied")
    for path in ("id/register.pdf", "id/register.csv", "id-2/register.pdf"):
        store(url, path, b"content")
    remove_files(url, "id")
    remove_files(url, "id")
    keys = boto3.client("s3").list_objects_v2(Bucket="emptied")["Contents"]
    assert [key["Key"] for key in keys] == ["reports/id-2/register.pdf"]


def test_a_missing_bucket_is_misconfigured(s3, s3_server):
    with pytest.raises(StorageMisconfigured, match="s3://shop/reports does not exist"):
        store(s3(s3_server), "a.pdf", b"x")


def test_wrong_credentials_are_misconfigured(s3, s3_server):
    url = s3(s3_server, "guarded")

    def ask_for_credentials(after):
        request = urllib.request.Request(
            f"{s3_server}/moto-api/reset-auth", data=after.encode(), headers={"Content-Type": "text/plain"}
        )
        urllib.request.urlopen(request).close()

    ask_for_credentials("0")
    try:
        with pytest.raises(StorageMisconfigured, match="refused access"):
            store(url, "a.pdf", b"x")
    finally:
        ask_for_credentials("Infinity")


def test_missing_credentials_are_misconfigured(s3, s3_server, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StorageMisconfigured, match="credentials"):
        store(s3(s3_server), "a.pdf", b"x")


def test_a_storage_that_is_away_is_temporary(s3):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = s3(f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(StorageUnavailable, match="s3://shop/reports did not take the call"):
            store(url, "a.pdf", b"x")


def test_a_storage_that_never_answers_is_temporary(s3, monkeypatch):
    monkeypatch.setattr(storage, "_S3_READ_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = s3(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(StorageUnavailable, match="did not take the call"):
            store(url, "a.pdf", b"x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_misconfigured(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageMisconfigured, match="refused access"):
        store(f"file://{tmp_path}", "a.csv", b"x")


def test_a_probe_leaves_nothing_and_names_what_is_wrong(folder, tmp_path):
    probe(folder)
    assert files_in(tmp_path) == []
    (tmp_path / "file").touch()
    with pytest.raises(StorageMisconfigured, match="does not exist"):
        probe(f"file://{tmp_path}/file/reports")
