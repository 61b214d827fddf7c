"""The first signal asks to stop, the second ends the process, even if a library catches the exception."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
import typer
from processes import PATIENCE, child

from sentstream import cli

STUBBORN = """
import os, time
from sentstream.cli.terminal.signals import asking_on_signals

with asking_on_signals(lambda number: os.write(1, b"asked\\n")):  # print() may be at work
    words = ["ready"]
    while True:
        try:
            while words:  # here, so that no signal comes before there is something that catches
                print(words.pop(), flush=True)
            time.sleep(3600)
        except BaseException:
            print("caught", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_kills_code_that_catches_everything(number: signal.Signals) -> None:
    both = "for one in signal.SIGINT, signal.SIGTERM: signal.signal(one, signal.default_int_handler)"
    code = f"import signal\n{both}\n{STUBBORN}"
    with child(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == "asked\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (128 + number, "caught\n")
    assert err == "sentstream: error: interrupted\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_library_may_swallow_the_interrupt(
    number: signal.Signals, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Extensions check for signals and raise any exception, as Ray's does."""

    def command(*_: object, **__: object) -> None:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None

    before = signal.getsignal(signal.SIGTERM)
    # What runs in the background of a shell ignores Ctrl-C.
    ctrl_c = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(cli, "_command", lambda: command)
    try:
        assert cli.main(["models"]) == code
        monkeypatch.setattr(cli, "_command", lambda: lambda *_, **__: (_ for _ in ()).throw(typer.Abort))
        assert cli.main(["models"]) == 130  # nothing is left of an earlier one
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, ctrl_c)
    assert capsys.readouterr().err == "sentstream: error: interrupted\n" * 2
