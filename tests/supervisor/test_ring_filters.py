"""A program of the kernel data plane decides what the rings of its links get, once for each ring."""

import errno
from types import SimpleNamespace

import pytest

from mcrelay.model.actions import Open
from mcrelay.model.links import Link, LinkTable
from mcrelay.model.state import DesiredState, Egress, Ingress, WorkerState
from mcrelay.supervisor import return_ports, sockets
from mcrelay.supervisor.sockets import Sockets
from mcrelay.supervisor.supply import SupplyError
from tests.support.supervisor_harness import FakeKernel

LINKS = LinkTable({"eth0": Link(2, "eth0"), "eth1": Link(3, "eth1")})
RING, OTHER_RING = Ingress(2, 2048), Ingress(3, 2048)
EGRESS = Egress(3, "10.2.0.1")
PROGRAM, NEXT_PROGRAM = 41, 42


class HostKernel(FakeKernel):
    """Keeps the programs of rings, and the port of a sending socket."""

    def __init__(self):
        super().__init__(LINKS)
        self.programs = []

    def attach_program(self, sock, program):
        self.programs.append((sock.purpose, program))

    def open_egress(self, egress, port=None):
        sock = super().open_egress(egress, port)
        sock.getsockname = lambda: (egress.source, port or egress.source_port)
        return sock

    def open_return_socket(self, port, address):
        sock = super().open_return_socket(port, address)
        if not port:
            sock.getsockname = lambda: (address, 40_000)
        return sock


@pytest.fixture
def kernel(monkeypatch):
    kernel = HostKernel()
    filters = SimpleNamespace(
        attach=kernel.attach,
        attach_program=kernel.attach_program,
        any_udp=lambda _: None,
        NOTHING=None,
        UDP_HEADERS=None,
    )
    for module in (sockets, return_ports):
        monkeypatch.setattr(module, "privileged", kernel)
        monkeypatch.setattr(module, "socket_filters", filters)
    return kernel


@pytest.fixture
def relay(kernel):
    return Sockets()


def test_the_rings_of_a_link_get_the_program_those_of_now_and_of_later(relay, kernel):
    relay.supply([Open(0, RING), Open(0, OTHER_RING)])
    assert not relay.has_filtered_rings
    relay.filter_rings(RING.ifindex, PROGRAM)
    assert kernel.programs == [(RING, PROGRAM)]
    assert relay.has_filtered_rings
    relay.supply([Open(1, RING), Open(1, OTHER_RING)])
    assert kernel.programs == [(RING, PROGRAM)] * 2


def test_a_ring_that_opens_after_the_programs_have_gone_gets_none(relay, kernel):
    relay.filter_rings(RING.ifindex, PROGRAM)
    relay.forget_ring_filters()
    relay.supply([Open(0, RING)])
    assert kernel.programs == []
    assert not relay.has_filtered_rings


def test_a_ring_gets_a_program_only_once(relay, kernel):
    relay.supply([Open(0, RING)])
    relay.filter_rings(RING.ifindex, PROGRAM)
    relay.filter_rings(RING.ifindex, PROGRAM)
    relay.supply([Open(0, RING)])
    assert kernel.programs == [(RING, PROGRAM)]
    relay.filter_rings(RING.ifindex, NEXT_PROGRAM)
    assert kernel.programs == [(RING, PROGRAM), (RING, NEXT_PROGRAM)]


def test_a_larger_ring_of_the_link_gets_the_program_too(relay, kernel):
    relay.filter_rings(RING.ifindex, PROGRAM)
    larger = Ingress(RING.ifindex, 16_384)
    relay.supply([Open(0, RING)])
    relay.supply([Open(0, larger)])
    assert kernel.programs == [(RING, PROGRAM), (larger, PROGRAM)]


def test_without_a_ring_no_program_is_in_use(relay):
    relay.supply([Open(0, RING)])
    relay.filter_rings(RING.ifindex, PROGRAM)
    relay.release_all_except(DesiredState())
    assert not relay.has_filtered_rings


def test_a_ring_that_cannot_have_the_program_is_an_error_and_does_not_count_as_filtered(relay, kernel):
    def refuse(sock, program):
        raise OSError(errno.EPERM, "Operation not permitted")

    relay.supply([Open(0, RING)])
    sockets.socket_filters.attach_program = refuse
    with pytest.raises(PermissionError):
        relay.filter_rings(RING.ifindex, PROGRAM)
    assert not relay.has_filtered_rings


def test_an_output_of_the_kernel_has_the_endpoint_of_a_socket_that_keeps_its_port(relay, kernel):
    assert relay.endpoints() == set()
    fixed = Egress(3, "10.2.0.1", 7000)
    assert relay.endpoint(fixed) == ("10.2.0.1", 7000)
    address, port = relay.endpoint(EGRESS)
    assert (address, port) == relay.endpoint(EGRESS)
    assert relay.endpoints() == {("10.2.0.1", 7000), (address, port)}
    state = DesiredState(WorkerState(frozenset({EGRESS})), 1)
    relay.release_all_except(state)
    assert relay.endpoints() == {(address, port)}


def test_an_output_has_the_port_of_an_earlier_daemon_if_it_is_free(relay):
    relay.keep_port(EGRESS, 40_123)
    assert relay.endpoint(EGRESS) == ("10.2.0.1", 40_123)


def test_an_output_without_a_device_has_no_endpoint(relay):
    with pytest.raises(SupplyError, match=r"cannot send from 10.2.0.1 through device .*: no such device"):
        relay.endpoint(Egress(9, "10.2.0.1"))
    assert relay.endpoints() == set()
