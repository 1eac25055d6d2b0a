"""Every reason for which a packet is not relayed is explained in one line, and counted."""

import errno

import pytest

from mcrelay.model.counters import LINKS, OUTPUTS, RULES
from mcrelay.model.drops import OTHER_ERRNO, SEND_ERRNOS, SEND_ERROR_MEANINGS, SEND_ERROR_NAMES, Drop


@pytest.mark.parametrize("drop", Drop)
def test_every_drop_reason_is_explained_and_counted_somewhere(drop):
    assert ": " in drop.meaning  # what it is, and what to do
    columns = {column for table in (LINKS, RULES, OUTPUTS) for column in table.columns}
    if drop is Drop.SEND_ERROR:  # by errno
        assert set(SEND_ERROR_NAMES) <= set(OUTPUTS.columns)
    else:
        assert drop in columns


def test_every_errno_has_its_name_and_the_rest_share_one():
    assert (*(getattr(errno, name) for name in SEND_ERROR_NAMES[:-1]),) == SEND_ERRNOS
    assert SEND_ERROR_NAMES[-1] == OTHER_ERRNO


def test_every_meaning_is_one_line_that_fits_below_a_rule():
    for meaning in (*(drop.meaning for drop in Drop), *SEND_ERROR_MEANINGS.values()):
        assert meaning.isprintable()
        assert 20 < len(meaning) <= 140
        assert ": " in meaning
