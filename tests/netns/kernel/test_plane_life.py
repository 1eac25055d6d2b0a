"""The kernel data plane outlives its processes, is adopted or replaced without a gap, and leaves no trace."""

import os
import socket
import threading
from functools import partial

import pytest

from mcrelay.kernel import links
from mcrelay.kernel.hooks import ClsactHook, TcxHook
from mcrelay.kernel.plane import remove_all
from mcrelay.kernel.unavailable import KernelPlaneUnavailable
from mcrelay.lab.command import wait_until
from tests.netns.support.kernel_relay import count, has_tcx, tc
from tests.support.bpf_programs import NEXT, load

# A classifier of another program, for none of the packets of these tests.
MATCH = ["u32", "match", "ip", "dst", "10.99.99.99/32", "flowid", "1:1"]
FOREIGN = ["protocol", "ip", "prio", "1", *MATCH]
FOREIGN_BEHIND = ["protocol", "ip", "prio", "9", *MATCH]


def test_tcx_is_chosen_where_the_kernel_has_it(relay):
    assert isinstance(relay.open().hook, TcxHook if has_tcx() else ClsactHook)


@pytest.mark.usefixtures("hook")
def test_forwarding_goes_on_when_every_process_is_killed_and_the_next_one_adopts_it(relay, wire):
    relay.leave_attached()
    assert wire.relayed(1, 2, 3) == [1, 2, 3]
    plane = relay.open()
    assert plane.was_adopted
    assert count(plane) == 3
    assert plane.attach(relay.eth0) is False
    assert wire.relayed(4) == [4]
    assert count(plane) == 4


@pytest.mark.usefixtures("hook")
def test_another_version_takes_over_while_packets_come_and_each_is_relayed_once(relay, wire):
    frames = range(20_000)
    plane, versions = relay.open("0"), 1
    plane.attach(relay.eth0)
    sending = threading.Thread(target=wire.send, args=frames)
    sending.start()
    while sending.is_alive():
        plane.close()
        plane, versions = relay.open(str(versions)), versions + 1
        assert not plane.was_adopted
        assert plane.attach(relay.eth0)
        plane.remove_earlier_versions()
    sending.join()
    assert versions > 3
    assert sorted(wire.receive(len(frames))) == list(frames)


@pytest.mark.usefixtures("hook")
def test_a_version_that_was_not_complete_is_loaded_anew(relay, wire):
    relay.leave_attached()
    complete = relay.directory() / "1"
    complete.rename(relay.directory() / "new-1")
    plane = relay.open()
    assert not plane.was_adopted
    assert plane.attach(relay.eth0)
    plane.remove_earlier_versions()
    assert not (relay.directory() / "new-1").exists()
    assert wire.relayed(1) == [1]
    assert count(plane) == 1


@pytest.mark.usefixtures("hook")
def test_a_plane_that_is_removed_leaves_nothing(relay, wire):
    before = tc("qdisc", "show")
    plane = relay.open()
    for ifindex in (relay.eth0, relay.eth1, relay.eth2):
        assert plane.attach(ifindex)
    plane.remove()
    assert wire.is_silent()
    assert not relay.parent.exists()
    assert tc("qdisc", "show") == before


@pytest.mark.usefixtures("hook")
def test_what_a_killed_daemon_left_is_removed_without_loading_anything(relay, wire):
    before = tc("qdisc", "show")
    relay.leave_attached()
    remove_all(relay.directory())
    assert wire.is_silent()
    assert not relay.parent.exists()
    assert tc("qdisc", "show") == before
    remove_all(relay.directory())


@pytest.mark.usefixtures("hook")
def test_nothing_is_removed_from_a_daemon_that_runs(relay, wire):
    plane = relay.open()
    plane.attach(relay.eth0)
    with pytest.raises(BlockingIOError):
        remove_all(relay.directory())
    with pytest.raises(KernelPlaneUnavailable, match="another daemon uses"):
        relay.open()
    assert wire.relayed(1) == [1]


@pytest.mark.usefixtures("hook")
def test_daemons_with_other_run_directories_share_a_device(relay, wire):
    before = tc("qdisc", "show")
    one, other = (relay.open(run_directory=f"/run/{name}") for name in ("one", "other"))
    for plane in (one, other):
        plane.attach(relay.eth0)
    wire.send(1)
    assert wire.receive(2) == [1, 1]
    one.remove()
    assert wire.relayed(2) == [2]
    assert count(other) == 2
    other.remove()
    assert tc("qdisc", "show") == before


@pytest.mark.usefixtures("hook")
def test_daemons_in_two_namespaces_have_pins_of_their_own(relay, wire, studio):
    plane = relay.open()
    plane.attach(relay.eth0)
    with studio.right.enter_namespace():
        other = relay.open()
        assert not other.was_adopted
        other.attach(socket.if_nametoindex("eth0"))
        other.remove()
    assert relay.pins()
    assert wire.relayed(1) == [1]


@pytest.mark.usefixtures("hook")
def test_what_another_program_attached_stays(relay, wire):
    tc("qdisc", "add", "dev", "eth0", "clsact")
    for direction in ("ingress", "egress"):
        tc("filter", "add", "dev", "eth0", direction, *FOREIGN)
    foreign = [links.create(load(NEXT), relay.eth0)] if has_tcx() else []
    before = _attached()
    plane = relay.open()
    plane.attach(relay.eth0)
    assert wire.relayed(1) == [1]
    assert _attached() != before
    assert _attached()[0][-1:] == before[0]  # behind ours
    plane.remove()
    assert wire.is_silent()
    assert _attached() == before
    for link in foreign:
        os.close(link)


@pytest.mark.usefixtures("clsact")
@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_a_clsact_that_another_program_uses_stays_with_its_classifiers(relay, direction):
    plane = relay.open()
    plane.attach(relay.eth0)
    tc("filter", "add", "dev", "eth0", direction, *FOREIGN_BEHIND)
    plane.remove()
    assert "clsact" in tc("qdisc", "show", "dev", "eth0")
    assert "u32" in tc("filter", "show", "dev", "eth0", direction)
    assert "bpf" not in tc("filter", "show", "dev", "eth0", "ingress")


@pytest.mark.usefixtures("clsact")
def test_the_older_qdisc_ingress_serves_as_well_and_stays(relay, wire):
    tc("qdisc", "add", "dev", "eth0", "ingress")
    before = _attached()
    plane = relay.open()
    plane.attach(relay.eth0)
    assert wire.relayed(1) == [1]
    plane.remove()
    assert _attached() == before


@pytest.mark.usefixtures("clsact")
def test_a_clsact_that_is_made_anew_by_another_program_stays(relay, wire):
    plane = relay.open()
    plane.attach(relay.eth0)
    tc("qdisc", "delete", "dev", "eth0", "clsact")
    assert wire.is_silent()
    tc("qdisc", "add", "dev", "eth0", "clsact")
    assert plane.attach(relay.eth0)
    assert wire.relayed(1) == [1]
    plane.remove()
    assert "clsact" in tc("qdisc", "show", "dev", "eth0")


@pytest.mark.usefixtures("hook")
def test_a_program_that_was_detached_by_another_is_attached_again(relay, wire):
    plane = relay.open()
    plane.attach(relay.eth0)
    plane.hook.detach(relay.eth0)
    assert wire.is_silent()
    assert plane.attach(relay.eth0)
    assert wire.relayed(1) == [1]


@pytest.mark.usefixtures("hook")
def test_a_renamed_device_goes_on(relay, wire, studio):
    plane = relay.open()
    plane.attach(relay.eth0)
    studio.relay.ip("link set eth0 down", "link set eth0 name studio0", "link set studio0 up")
    for host, device in ((studio.sender, "eth0"), (studio.relay, "studio0")):
        wait_until(partial(_is_running, host, device), "the carrier")
    assert plane.attach(relay.eth0) is False
    assert wire.relayed(1) == [1]


@pytest.mark.usefixtures("hook")
def test_a_device_that_comes_back_with_its_number_is_attached_anew(relay, studio):
    plane = relay.open()
    plane.attach(relay.eth0)
    studio.relay.ip("link delete eth0")
    with pytest.raises(OSError, match="No such device"):
        plane.attach(relay.eth0)
    studio.relay.ip(f"link add eth0 index {relay.eth0} type veth peer name eth8")
    assert plane.attach(relay.eth0)
    assert plane.attach(relay.eth0) is False


@pytest.mark.usefixtures("hook")
def test_a_device_that_has_gone_leaves_no_pin(relay, studio):
    plane = relay.open()
    before = relay.pins()
    plane.attach(relay.eth0)
    studio.relay.ip("link delete eth0")
    plane.detach_all_except({relay.eth1})
    assert relay.pins() == before


@pytest.mark.usefixtures("hook")
@pytest.mark.parametrize("has_successor", [False, True])
def test_a_device_that_moves_to_another_namespace_runs_nothing_there(relay, studio, has_successor):
    plane = relay.open()
    plane.attach(relay.eth0)
    studio.relay.ip(f"link set eth0 name moved netns {studio.right.namespace}")
    if has_successor:
        studio.relay.ip(f"link add eth0 index {relay.eth0} type veth peer name eth8")
        assert plane.attach(relay.eth0)
        assert plane.attach(relay.eth0) is False
    else:
        plane.detach_all_except(set())
    with studio.right.enter_namespace():
        assert socket.if_nametoindex("moved") == relay.eth0
        attached, qdisc, ingress, _ = _attached("moved")
    assert attached == []
    assert "clsact" not in qdisc
    assert "bpf" not in ingress


def test_what_a_daemon_left_in_a_namespace_that_is_gone_is_removed(relay, lab):
    gone = lab.host("gone")
    gone.ip("link add eth0 type veth peer name eth1")
    with gone.enter_namespace():
        plane = relay.open()
        plane.attach(socket.if_nametoindex("eth0"))
        plane.close()
    abandoned, own = set(relay.parent.iterdir()), relay.directory()
    relay.open().close()
    assert set(relay.parent.iterdir()) == abandoned | {own}  # a daemon there could adopt it
    gone.close()

    def is_removed():
        relay.open().close()
        return set(relay.parent.iterdir()) == {own}

    wait_until(is_removed, "the removal of what was abandoned")


def _attached(device="eth0"):
    """Return what is attached to a device, as a list of IDs and as text."""
    filters = [tc("filter", "show", "dev", device, direction) for direction in ("ingress", "egress")]
    found = links.find(socket.if_nametoindex(device)) if has_tcx() else []
    return found, tc("qdisc", "show", "dev", device), *filters


def _is_running(host, device):
    return " UP " in host.run(["ip", "-brief", "link", "show", device]).stdout
