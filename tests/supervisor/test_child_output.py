"""What a child writes to its standard error comes into the log, and never blocks the child."""

import os
from contextlib import suppress

import pytest

from mcrelay.supervisor.child_output import MAX_LINE_BYTES, open_pipe


@pytest.fixture
def pipe():
    """The supervisor's end of a pipe, and a copy of the child's descriptor."""
    with open_pipe() as (output, writing):
        child = os.dup(writing)
    yield output, child
    output.close()


def test_lines_are_logged_when_they_are_complete(pipe, caplog):
    output, child = pipe
    os.write(child, b"worker 0: one\n\ntw")
    assert output.log_lines()
    assert caplog.messages == ["worker 0: one"]
    os.write(child, b"o\n")
    assert output.log_lines()
    assert caplog.messages == ["worker 0: one", "two"]
    assert not output.log_lines(), "nothing has arrived"
    os.close(child)


def test_the_last_words_of_a_child_need_no_line_end(pipe, caplog):
    output, child = pipe
    os.write(child, b"Traceback\nlast")
    os.close(child)
    assert output.log_lines()
    assert not output.log_lines(), "the child has exited"
    assert caplog.messages == ["Traceback", "last"]


def test_a_line_cannot_forge_another_and_a_long_one_is_split(pipe, caplog):
    output, child = pipe
    os.write(child, b"a\x1b[31mb\rc\xff\n" + b"x" * (MAX_LINE_BYTES + 1))
    os.close(child)
    assert output.log_lines()
    assert caplog.messages == [
        "a\N{REPLACEMENT CHARACTER}[31mb\N{REPLACEMENT CHARACTER}c\ufffd",
        "x" * (MAX_LINE_BYTES + 1),
    ]


def test_a_full_pipe_does_not_block_the_child(pipe):
    _, child = pipe
    with suppress(BlockingIOError):
        while os.write(child, bytes(4096)):
            pass
    with pytest.raises(BlockingIOError):
        os.write(child, b"more")
    os.close(child)


def test_a_child_that_cannot_be_started_leaves_no_descriptor():
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError), open_pipe():
        raise FileNotFoundError
    assert len(os.listdir("/proc/self/fd")) == before
