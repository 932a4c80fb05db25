"""`diffattn demo` from beginning to end: where it is, Ctrl-C, and what is refused before anything is loaded."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from tests.interpreters import environment
from ultralytics_diffattn import cli
from ultralytics_diffattn.verbs import demo as verb

REFUSED = [
    (["port=no"], r"port='no' must be a whole number from 0 to 65535"),
    (["port=70000"], r"port=70000 must be"),
    (["prot=7860"], r"'prot' is not a valid YOLO argument. .*'port=7860'"),
    (["port=0", "model=gone.pt"], r"gone.pt does not exist"),
    (["port=0", "host=192.0.2.1"], r"port=0 on 192.0.2.1 cannot be used"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_refused(words, message, capsys):
    assert cli.main(["demo", *words]) == 1
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert "Traceback" not in error


def test_two_demos_on_one_port(capsys):
    with socket.create_server(("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        assert cli.main(["demo", f"port={port}"]) == 1
    error = capsys.readouterr().err
    assert f"port={port} on 127.0.0.1 cannot be used" in error
    assert "give another port" in error


def test_without_the_extra(monkeypatch, capsys):
    monkeypatch.setattr(verb, "find_spec", lambda name: None)
    assert cli.main(["demo"]) == 1
    assert 'pip install "ultralytics-diffattn[demo]"' in capsys.readouterr().err


def test_help(capsys):
    assert cli.main(["demo", "help"]) == 0
    said = capsys.readouterr().out
    assert "port=7860" in said
    assert "any argument of yolo" not in said


def test_until_ctrl_c(tmp_path):
    words = [
        sys.executable,
        "-c",
        "import sys; from ultralytics_diffattn.cli import main; sys.exit(main())",
        "demo",
        "port=0",
    ]
    process = subprocess.Popen(
        words, cwd=tmp_path, env=environment({}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        line = process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert address, line + process.communicate(timeout=60)[0]
        with urllib.request.urlopen(address[0]) as page:
            assert b"What does it look at?" in page.read()
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[0]
    finally:
        process.kill()
    assert process.returncode == 0, rest
    assert "Traceback" not in rest
    assert not os.listdir(tmp_path)
