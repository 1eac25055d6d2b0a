"""A boot time has the identity of the boot and the seconds since then."""

from pathlib import Path

import pytest

from mcrelay.supervisor import boot_clock


@pytest.fixture(autouse=True)
def _forgotten():
    boot_clock._boot_id.cache_clear()
    yield
    boot_clock._boot_id.cache_clear()


def test_times_of_one_boot_have_its_identity_and_ascend():
    first, second = boot_clock.read_boot_time(), boot_clock.read_boot_time()
    assert first.boot == second.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert first.seconds < second.seconds
    assert first.time > 1_700_000_000


def test_without_a_boot_id_the_boot_is_unknown(monkeypatch):
    def hidden(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", hidden)
    assert boot_clock.read_boot_time().boot == "unknown"
