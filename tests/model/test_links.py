"""A link table finds a device by its name, and decides whether an address belongs to the host."""

from mcrelay.model.links import AddressScope, Link, LinkAddress, LinkTable

LINKS = LinkTable(
    {
        "eth0": Link(2, "eth0", addresses=(LinkAddress("192.0.2.1"),)),
        "eth1": Link(3, "eth1", addresses=(LinkAddress("10.9.2.1"), LinkAddress("10.9.2.2"))),
    }
)


def test_a_device_is_found_by_its_name():
    assert LINKS.get("eth1") == Link(3, "eth1", addresses=(LinkAddress("10.9.2.1"), LinkAddress("10.9.2.2")))
    assert LINKS.get("eth9") is None


def test_every_address_of_every_device_is_local():
    assert LINKS.is_local("192.0.2.1")
    assert LINKS.is_local("10.9.2.2")
    assert not LINKS.is_local("10.9.2.3")


def test_every_loopback_address_is_local():
    assert LinkTable().is_local("127.0.0.9")


def test_an_absent_device_gets_the_name_that_was_meant_and_a_name_too_long_says_what_it_can_only_be():
    assert LINKS.suggest_device("eht0") == "; did you mean `eth0`?"
    assert LINKS.suggest_device("eth7") == ""
    assert "alternative name" in LINKS.suggest_device("a-very-long-name-of-a-card")


def link(*addresses, device="eth0"):
    return Link(2, device, addresses=addresses)


def test_the_primary_address_is_the_first_one_of_the_largest_scope():
    autoconfigured = LinkAddress("169.254.1.1", 16, AddressScope.LINK)
    secondary = LinkAddress("10.1.0.2", is_secondary=True)
    assert link(autoconfigured).primary_address == "169.254.1.1"
    assert link(autoconfigured, LinkAddress("10.1.0.1"), secondary).primary_address == "10.1.0.1"
    assert link(LinkAddress("10.1.0.1"), LinkAddress("10.7.0.1")).primary_address == "10.1.0.1"
    assert link(secondary).primary_address is None
    assert link().primary_address is None


def test_an_address_of_host_scope_is_primary_on_the_loopback_device_alone():
    address = LinkAddress("127.0.0.1", 8, AddressScope.HOST)
    assert link(address).primary_address is None
    assert link(address, device="lo").primary_address == "127.0.0.1"


def test_the_owner_of_a_broadcast_address_is_the_device_with_its_subnet():
    table = LinkTable({"eth0": link(LinkAddress("10.1.0.1", 16), LinkAddress("10.2.0.1", 31))})
    assert table.broadcast_owner("10.1.255.255") == (table.get("eth0"), LinkAddress("10.1.0.1", 16))
    assert table.broadcast_owner("10.1.0.255") is None
    assert table.broadcast_owner("10.2.0.1") is None
