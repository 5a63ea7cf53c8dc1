"""Signals as requests."""

import os
import signal
import subprocess
import sys

import pytest

from dakd.train.stopping import stop_requests


def test_one_of_each_signal_is_a_request_and_a_second_ctrl_c_acts():
    before = signal.getsignal(signal.SIGTERM)
    with stop_requests() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        os.kill(os.getpid(), signal.SIGTERM)  # a launcher passes Ctrl-C on as this
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
def test_a_second_sigterm_ends_the_process():
    code = (
        "import os, signal\nfrom dakd.train.stopping import stop_requests\n"
        "with stop_requests() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGTERM); print(stop(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM); print('still there')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout.strip()) == (-signal.SIGTERM, "True")
