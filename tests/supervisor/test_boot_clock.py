"""A moment is known by its boot, and no two are the same."""

from pathlib import Path

import pytest

from mcrelay.supervisor import boot_clock


@pytest.fixture(autouse=True)
def _forgotten():
    boot_clock._boot_id.cache_clear()
    yield
    boot_clock._boot_id.cache_clear()


def test_moments_of_one_boot_follow_one_another():
    first, second = boot_clock.read_boot_time(), boot_clock.read_boot_time()
    assert first.boot == second.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert first.seconds < second.seconds
    assert first.time > 1_700_000_000


def test_a_host_that_hides_its_boots_has_moments_all_the_same(monkeypatch):
    def hidden(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", hidden)
    assert boot_clock.read_boot_time().boot == "unknown"
