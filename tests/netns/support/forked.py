"""Runs a function in a process of its own, which may drop privileges or be killed."""

import os
import signal
import traceback


def run_killed(function):
    """Run a function in a process that is then killed by SIGKILL, so that it cleans up nothing."""
    process, is_ready = _fork(function)
    assert is_ready.startswith("done: "), is_ready
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


def run_apart(function):
    """Run a function in another process, and return its result as text."""
    process, result = _fork(function)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    assert result.startswith("done: "), result
    return result.removeprefix("done: ")


def _fork(function):
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            result = f"done: {function()}"
        except BaseException:
            result = traceback.format_exc()
        os.write(writing, result.encode())
        os.close(writing)
        while True:
            signal.pause()
    os.close(writing)
    with os.fdopen(reading) as answer:
        return process, answer.read()
