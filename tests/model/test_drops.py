"""Every reason for which a packet is not relayed has an owner that counts it, a meaning and an advice."""

import errno

import pytest

from mcrelay.model.counters import LINKS, OUTPUTS, RULES
from mcrelay.model.drops import Drop, Scope, drops_of
from mcrelay.model.send_errors import (
    OTHER_ERRNO,
    SEND_ERROR_CODES,
    SEND_ERROR_EXPLANATIONS,
    SEND_ERROR_NAMES,
    IcmpError,
    PathFault,
    send_error_name,
)

TABLES = {Scope.LINK: LINKS, Scope.RULE: RULES, Scope.OUTPUT: OUTPUTS}


@pytest.mark.parametrize("drop", Drop)
def test_a_drop_reason_is_its_name(drop):
    assert drop == drop.value == str(drop) == drop.name.lower()
    assert Drop._value2member_map_[drop.value] is drop


@pytest.mark.parametrize("drop", Drop)
def test_a_drop_reason_has_columns_where_its_scopes_say_and_nowhere_else(drop):
    assert drop.scopes
    columns = SEND_ERROR_NAMES if drop is Drop.SEND_ERROR else (drop,)
    for scope, table in TABLES.items():
        assert [column in table.drops for column in columns] == [scope in drop.scopes] * len(columns)


def test_the_columns_of_a_scope_stand_in_the_order_of_its_reasons():
    assert LINKS.drops == drops_of(Scope.LINK)
    assert RULES.drops == drops_of(Scope.RULE)
    assert (*OUTPUTS.drops[: -len(SEND_ERROR_NAMES)], Drop.SEND_ERROR) == drops_of(Scope.OUTPUT)


def test_every_errno_fault_and_icmp_error_has_its_name_and_the_rest_share_one():
    errnos = [name for name in SEND_ERROR_NAMES if name.isupper()]
    assert (*errnos, *PathFault, *IcmpError, OTHER_ERRNO) == SEND_ERROR_NAMES
    assert [send_error_name(getattr(errno, name)) for name in errnos] == errnos
    assert (*SEND_ERROR_CODES.values(),) == (*errnos, *PathFault)
    assert send_error_name(errno.EPROTO) == "EPROTO"
    assert send_error_name(999) == "999"


def test_every_explanation_is_one_line_that_fits_below_a_rule():
    for explanation in (*(drop.explanation for drop in Drop), *SEND_ERROR_EXPLANATIONS.values()):
        assert explanation.isprintable()
        assert 20 < len(explanation) <= 140
        meaning, _, advice = explanation.partition(": ")  # what it is, and what to do
        assert meaning
        assert advice
