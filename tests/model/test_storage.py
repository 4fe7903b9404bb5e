"""Storage: the same promises on a local disk and on an S3 server over HTTP, and one sentence for whatever goes wrong."""

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from model import storage
from model.errors import StorageError
from tests.support.s3 import forget_clients, free_port


@pytest.fixture(params=["local", "s3"])
def place(request, tmp_path) -> str:
    return request.getfixturevalue("s3").uri("place") if request.param == "s3" else str(tmp_path / "place")


def test_what_is_written_is_read_listed_and_deleted(place):
    storage.write_bytes(storage.join(place, "a/b.bin"), b"0123456789")
    storage.write_text(storage.join(place, "c.txt"), "é")
    assert storage.exists(place)
    assert storage.read_range(storage.join(place, "a/b.bin"), 3, 4) == b"3456"
    assert storage.read_text(storage.join(place, "c.txt")) == "é"
    assert [(file.path, file.bytes) for file in storage.list_files(place)] == [("a/b.bin", 10), ("c.txt", 2)]
    storage.delete_tree(storage.join(place, "a"))
    assert [file.path for file in storage.list_files(place)] == ["c.txt"]
    storage.delete_tree(storage.join(place, "never-there"))


def test_a_listing_says_when_a_file_was_written(place):
    before = datetime.now(UTC) - timedelta(seconds=2)  # S3 knows whole seconds
    storage.write_text(storage.join(place, "c.txt"), "é")
    (file,) = storage.list_files(place)
    assert file.changed is not None
    assert before <= file.changed <= datetime.now(UTC) + timedelta(seconds=2)


def test_a_new_file_is_made_by_exactly_one_of_many(place):
    made = []
    threads = [
        threading.Thread(target=lambda n=n: made.append(storage.write_new(storage.join(place, "lease"), str(n).encode())))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False] * 7 + [True]
    assert not storage.write_new(storage.join(place, "lease"), b"late")
    assert storage.read_bytes(storage.join(place, "lease")) != b"late"


def test_trees_travel_whole_large_files_in_parts(place, tmp_path):
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "large.bin").write_bytes(os.urandom(40 << 20))
    (source / "deep/small.txt").write_text("small")
    storage.upload_tree(source, place)
    storage.download_tree(place, tmp_path / "target")
    for path in ("large.bin", "deep/small.txt"):
        assert (tmp_path / "target" / path).read_bytes() == (source / path).read_bytes()
    with storage.as_local_folder(place) as folder:
        assert (folder / "deep/small.txt").read_text() == "small"


def test_a_range_beyond_the_end_is_no_short_read(place):
    storage.write_bytes(storage.join(place, "x"), b"0123456789")
    with pytest.raises(StorageError, match="ends 5 bytes before"):
        storage.read_range(storage.join(place, "x"), 5, 10)


def test_what_is_missing_is_named(place):
    with pytest.raises(StorageError, match="cannot read .*nothing.*does not exist; check the path"):
        storage.read_bytes(storage.join(place, "nothing"))
    with pytest.raises(StorageError, match="there is nothing at"):
        storage.download_tree(storage.join(place, "nothing"), Path("/nonexistent"))


def test_one_request_in_ten_may_fail_or_be_cut_off(s3, tmp_path):
    content = os.urandom(40 << 20)
    (tmp_path / "large.bin").write_bytes(content)
    for status in (503, 500, 0):
        s3.faults.every(10, status=status)
        storage.upload_file(tmp_path / "large.bin", s3.uri("large.bin"))
        for number in range(12):
            storage.write_bytes(s3.uri(f"small/{number}"), bytes([number]))
        assert [file.bytes for file in storage.list_files(s3.uri("small"))] == [1] * 12
        storage.download_file(s3.uri("large.bin"), tmp_path / "back.bin")
        assert (tmp_path / "back.bin").read_bytes() == content


def test_an_answer_that_breaks_off_is_read_again(s3):
    content = os.urandom(1 << 20)
    storage.write_bytes(s3.uri("broken"), content)
    s3.faults.every(1, status=-1, matching="broken", times=1)
    assert storage.read_range(s3.uri("broken"), 0, len(content)) == content


def test_a_bucket_that_is_not_there_and_a_server_that_does_not_answer_are_one_sentence(s3, monkeypatch):
    with pytest.raises(StorageError, match="bucket does not exist|does not exist; check the path"):
        storage.read_bytes("s3://no-such-bucket-here/x")
    storage.check_writable(s3.uri("store"))
    assert storage.list_files(s3.uri("store")) == []
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    forget_clients()
    with pytest.raises(StorageError, match="does not answer; check AWS_ENDPOINT_URL") as caught:
        storage.check_writable("s3://bucket/store")
    assert "\n" not in str(caught.value)


def test_a_kill_in_the_middle_of_a_write_leaves_the_old_file(tmp_path):
    target = tmp_path / "file"
    storage.write_bytes(str(target), b"old")
    code = (
        "import os, sys; from model import storage\n"
        "os.replace = lambda *_: os.kill(os.getpid(), 9)\n"
        "storage.write_bytes(sys.argv[1], b'new')"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert killed.returncode == -9
    assert target.read_bytes() == b"old"
    assert storage.write_new(str(tmp_path / "other"), b"1")


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    code = (
        "import resource, signal, sys; from model import storage; from model.errors import StorageError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: storage.write_bytes(sys.argv[1], bytes(5000))\n"
        "except StorageError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "large")], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("cannot write ")
    assert done.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_may_be_read_by_whom_the_umask_allows(tmp_path):
    mask = os.umask(0o022)
    os.umask(mask)
    storage.write_text(str(tmp_path / "file"), "shared")
    storage.upload_file(tmp_path / "file", str(tmp_path / "copy"))
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("file", "copy")} == {0o666 & ~mask}
