"""Every message has the reason of an OSError in the same form."""

import errno
import os

from mcrelay.model.os_errors import format_os_error


def test_the_reason_has_no_number_and_no_path():
    error = OSError(errno.EACCES, os.strerror(errno.EACCES), "/etc/mcrelay.yaml")
    assert format_os_error(error) == "permission denied"


def test_the_reason_of_an_error_without_a_number_is_its_text():
    assert format_os_error(OSError("No such thing")) == "no such thing"
