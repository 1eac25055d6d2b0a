"""What a parent leaves to mcrelay does not matter."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "simple.yaml"


def mcrelay(*arguments, closed=(), **options):
    """Run the command with standard streams that are closed."""
    return subprocess.run(
        [sys.executable, "-m", "mcrelay", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: [os.close(descriptor) for descriptor in closed],
        **options,
    )


def test_a_standard_input_that_is_closed_is_empty():
    done = mcrelay("check", "-", closed=[0])
    assert (done.returncode, done.stderr) == (78, "")
    assert "the file is empty" in done.stdout


@pytest.mark.parametrize("closed", [[1], [2], [0, 1, 2]])
def test_an_output_that_is_closed_is_no_failure(closed):
    done = mcrelay("check", EXAMPLE, closed=closed)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_does_not_become_a_standard_stream():
    script = (
        "import os; from mcrelay.cli import inherited_state; before = os.open('/dev/zero', os.O_RDONLY);"
        "os.close(before); inherited_state.repair(); print(before, os.open('/dev/zero', os.O_RDONLY))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, preexec_fn=lambda: os.close(0)
    )
    assert done.stdout.split() == ["0", "3"], done.stderr


def test_how_a_child_ended_is_known_although_sigchld_was_ignored():
    script = (
        "import subprocess; from mcrelay.cli import inherited_state; inherited_state.repair();"
        "print(subprocess.run(['false']).returncode)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    )
    assert done.stdout == "1\n"
