"""The kernel data plane in the reconciler when all that it should do has failed."""

import pytest

from mcrelay.model.state import KERNEL
from tests.support.reconciler_harness import CAMERA, TO_NEAR, ReconcilerHarness
from tests.support.strategies import planned


@pytest.mark.parametrize("index", [0, 1])
def test_a_kernel_whose_only_rule_has_failed_waits_for_the_next_attempt(index):
    harness = ReconcilerHarness()
    harness.plan(planned({"camera": ([CAMERA], [TO_NEAR])}, in_kernel={"camera"}))
    harness.hello(KERNEL)
    harness.refuse(KERNEL, index)
    for _ in range(3):
        harness.check()
        harness.wait(0.1)
    harness.converge()
    assert harness.reconciler.running.workers[KERNEL] == harness.reconciler.desired.kernel
