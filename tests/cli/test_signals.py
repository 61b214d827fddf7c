"""The first signal asks, the second ends: also where a library catches whatever it raises."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from processes import PATIENCE, child

STUBBORN = """
import time
from sentstream.cli.terminal.signals import asking_on_signals

with asking_on_signals(lambda number: print("asked", flush=True)):
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
def test_a_second_signal_ends_what_catches_everything(number: signal.Signals) -> None:
    code = f"import signal; signal.signal(signal.SIGTERM, signal.default_int_handler)\n{STUBBORN}"
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
