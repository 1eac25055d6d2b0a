"""A link table finds a device by its name, and decides whether an address belongs to the host."""

from mcrelay.model.links import Link, LinkTable

LINKS = LinkTable(
    {
        "eth0": Link(2, "eth0", addresses=("192.0.2.1",)),
        "eth1": Link(3, "eth1", addresses=("10.9.2.1", "10.9.2.2")),
    }
)


def test_a_device_is_found_by_its_name():
    assert LINKS.get("eth1") == Link(3, "eth1", addresses=("10.9.2.1", "10.9.2.2"))
    assert LINKS.get("eth9") is None


def test_every_address_of_every_device_is_local():
    assert LINKS.is_local("192.0.2.1")
    assert LINKS.is_local("10.9.2.2")
    assert not LINKS.is_local("10.9.2.3")


def test_every_loopback_address_is_local():
    assert LinkTable().is_local("127.0.0.9")
