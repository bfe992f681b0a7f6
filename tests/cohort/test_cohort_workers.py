"""Cohorts on several processes: the same voxels, whoever dies meanwhile; and who may listen."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cohorts import COMMAND, ENVIRONMENT, arguments, batch, content, make_table

from napari_medsamq.cohort import case_runner as cohort
from napari_medsamq.cohort.cluster import Connection, check_connection
from napari_medsamq.errors import CohortError

pytest.importorskip("distributed")

_LONGEST_S = 240


def wait_for(ready: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + _LONGEST_S
    while not ready():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


def finished(output: Path) -> list[Path]:
    return sorted((output / "results").glob("*.json"))


def nothing_half_written(output: Path) -> None:
    """Files under a final name are whole, and results are those of the labels beside them."""
    import json

    import nibabel as nib
    import numpy as np

    for path in finished(output):
        result = json.loads(path.read_text(encoding="utf-8"))
        for name, expected in result["files"].items():
            assert cohort.file_hash(output / name) == expected
    for path in (output / "labels").glob("[!.]*.nii.gz"):
        assert np.asarray(nib.load(path).dataobj).any()


def test_two_workers_make_the_same_files_as_one_process(tmp_path: Path) -> None:
    table = make_table(tmp_path, 4)
    one, two = tmp_path / "one", tmp_path / "two"
    result = batch(table, one)
    assert result.exit_code == 0, result.output
    done = subprocess.run(
        [*COMMAND, *arguments(table, two), "--workers", "2"],
        env=ENVIRONMENT,
        capture_output=True,
        encoding="utf-8",
        timeout=_LONGEST_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "4 cases done, 0 failed" in done.stdout
    assert content(one) == content(two)
    labels = [path for path in content(one) if path.startswith("labels/")]
    assert len(labels) == 4


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_what_was_finished_before_a_kill_is_kept(tmp_path: Path) -> None:
    table, output, whole = make_table(tmp_path, 4), tmp_path / "out", tmp_path / "whole"
    with subprocess.Popen(
        [*COMMAND, *arguments(table, output), "--threads", "1"],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as running:
        wait_for(lambda: len(finished(output)) >= 2, "two cases")
        running.kill()
    kept = {path.name: path.read_bytes() for path in finished(output)}
    nothing_half_written(output)
    assert batch(table, output).exit_code == 0
    for name, before in kept.items():
        assert (output / "results" / name).read_bytes() == before
    assert batch(table, whole).exit_code == 0
    assert content(output) == content(whole)


@contextmanager
def process(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    running = subprocess.Popen(
        [sys.executable, "-m", *command],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        yield running
    finally:
        running.kill()
        running.wait()
        assert running.stderr is not None
        running.stderr.close()


@contextmanager
def scheduler(*options: str) -> Iterator[str]:
    command = ("distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", *options)
    with process(*command, "--host", "127.0.0.1") as running:
        assert running.stderr is not None
        for line in running.stderr:
            found = re.search(rb"at:\s+((tcp|tls)://\S+)", line)
            if found:
                os.set_blocking(running.stderr.fileno(), False)
                yield found[1].decode()
                return
        raise AssertionError("the scheduler did not start")


def worker(address: str, *options: str) -> tuple[str, ...]:
    fixed = ("--nthreads", "1", "--no-nanny", "--no-dashboard")
    return ("distributed.cli.dask_worker", address, *fixed, *options)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.timeout(600)
def test_a_worker_that_is_killed_loses_no_case(tmp_path: Path) -> None:
    table, output, whole = make_table(tmp_path, 24), tmp_path / "out", tmp_path / "whole"
    with (
        scheduler() as address,
        process(*worker(address)) as first,
        process(*worker(address)),
        subprocess.Popen(
            [*COMMAND, *arguments(table, output), "--scheduler", address],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as running,
    ):
        wait_for(lambda: len(finished(output)) >= 4, "four cases")
        kept = {path.name: path.read_bytes() for path in finished(output)}
        first.send_signal(signal.SIGKILL)
        told, errors = running.communicate(timeout=_LONGEST_S)
        assert running.returncode == 0, errors.decode()
    assert b"24 cases done, 0 failed" in told
    for name, before in kept.items():
        assert (output / "results" / name).read_bytes() == before
    assert batch(table, whole).exit_code == 0
    assert content(output) == content(whole)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_worker_without_the_program_or_with_another_version_is_named(tmp_path: Path) -> None:
    table, output = make_table(tmp_path, 1), tmp_path / "out"
    # In place of the program there is one with nothing in it, or one of another version.
    empty = tmp_path / "empty" / "napari_medsamq"
    empty.mkdir(parents=True)
    (empty / "__init__.py").write_text("")
    with scheduler() as address:
        changed = {**ENVIRONMENT, "PYTHONPATH": str(empty.parent)}
        command = [sys.executable, "-m", *worker(address)]
        with subprocess.Popen(
            command, env=changed, cwd=empty.parent, stderr=subprocess.DEVNULL
        ) as other:
            result = batch(table, output, "--scheduler", address)
            other.kill()
        assert result.exit_code == 1
        assert "cannot run napari-medsamq" in result.stderr
        older = "import napari_medsamq; napari_medsamq.__version__ = '0.0.1'"
        (tmp_path / "older.py").write_text(older)
        with process(*worker(address, "--preload", str(tmp_path / "older.py"))):
            result = batch(table, output, "--scheduler", address)
        assert result.exit_code == 1
        assert "has napari-medsamq 0.0.1" in result.stderr
    assert not finished(output)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_tls_is_spoken_where_the_scheduler_asks_for_it(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    try:
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *("-subj", "/CN=localhost", "-keyout", str(key), "-out", str(cert)),
            ],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("there is no openssl to make certificates with")
    files = ("--tls-ca-file", str(cert), "--tls-cert", str(cert), "--tls-key", str(key))
    table, output = make_table(tmp_path, 1), tmp_path / "out"
    with scheduler("--protocol", "tls", *files) as address, process(*worker(address, *files)):
        assert address.startswith("tls://")
        ours = ("--tls-ca", str(cert), "--tls-cert", str(cert), "--tls-key", str(key))
        result = batch(table, output, "--scheduler", address, *ours)
        assert result.exit_code == 0, result.output
    assert len(finished(output)) == 1


@pytest.mark.parametrize(
    ("connection", "words"),
    [
        (Connection("tcp://10.0.0.5:8786"), "not encrypted"),
        (Connection("tcp://cluster.example:8786"), "not encrypted"),
        (Connection("cluster.example:8786"), "tls://HOST:PORT"),
        (Connection("tcp://127.0.0.1"), "tls://HOST:PORT"),
        (Connection("http://127.0.0.1:80"), "tls://HOST:PORT"),
        (Connection("tls://cluster.example:8786"), "needs TLS"),
        (Connection("tls://cluster.example:8786", ca=Path("ca.pem")), "all of --tls-ca"),
        (Connection("tcp://127.0.0.1:8786", ca=Path("ca.pem")), "does not use TLS"),
        (Connection("tls://a:1", *[Path("no.pem")] * 3), "there is no file no.pem"),
        (Connection("tls://a:1", *[Path(__file__)] * 3), "cannot be used"),
    ],
)
def test_a_scheduler_that_others_could_listen_to_is_refused(
    connection: Connection, words: str
) -> None:
    with pytest.raises(CohortError, match=re.escape(words)):
        check_connection(connection)


@pytest.mark.parametrize(
    "connection",
    [
        Connection("tcp://127.0.0.1:8786"),
        Connection("tcp://localhost:8786"),
        Connection("tcp://[::1]:8786"),
        Connection("tcp://cluster.example:8786", insecure=True),
    ],
)
def test_this_computer_needs_no_tls(connection: Connection) -> None:
    assert check_connection(connection) is None


def test_options_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    table, output = make_table(tmp_path, 1), tmp_path / "out"
    for options, words in (
        (("--workers", "2", "--scheduler", "tcp://127.0.0.1:1"), "a scheduler has its own"),
        (("--insecure",), "need --scheduler"),
        (("--from-journals", str(tmp_path / "none")), "no folder"),
    ):
        result = batch(table, output, *options)
        assert result.exit_code == 1
        assert words in result.stderr
    assert not output.exists()
