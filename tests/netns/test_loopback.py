"""With `loopback`, what programs of the relay's own host send is relayed, and they hear what is relayed."""

import json
import os
import signal

import pytest

from mcrelay.lab import Receiver, report_of, start_sending
from mcrelay.lab.command import TIMEOUT_S, mcrelay, wait_until

MANY = 20_000
PATIENCE_S = 60  # of a receiver that the test interrupts
HERE = "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001%s}, outputs: [%s]}"
TO_LEFT = "{interface: left, group: 239.2.2.2, port: 6001}"
HEARD = "{interface: left, group: 239.2.2.2, port: 6001, loopback: true}"
LOOPED = ", loopback: true"
EVERY_NETWORK = ("net.ipv4.conf.all.rp_filter", "net.ipv4.conf.eth0.rp_filter")


def start_here(studio, destination, count, *options, device="eth0", rate=20_000):
    """Start to send from the relay's own host."""
    options = (f"--interface={device}", f"--count={count}", f"--rate={rate}", *options)
    return start_sending(studio.relay, destination, *options)


def send_here(studio, destination, count, *options, **chosen):
    """Send from the relay's own host, and wait for the end."""
    return report_of(start_here(studio, destination, count, *options, **chosen))


def rule_of(relay, name):
    """Return a rule of the status document."""
    return json.loads(relay.ask("status", name, "--json").stdout)["rules"][0]


def await_packets(relay, name, count):
    """Wait until the input of a rule has relayed so many packets, and return the rule."""
    wait_until(lambda: rule_of(relay, name)["input"]["packets"] >= count, f"packets of {name}")
    return rule_of(relay, name)


def await_own(relay, name, count):
    """Wait until so many packets are counted as `own` of a rule, and return the rule."""
    wait_until(lambda: rule_of(relay, name)["input"]["drops"]["own"] >= count, f"own of {name}")
    return rule_of(relay, name)


# Inputs.


@pytest.mark.parametrize("count", [1, MANY])
@pytest.mark.parametrize("workers", [1, 3])
def test_with_loopback_an_input_takes_what_this_host_sends_and_what_arrives(studio, workers, count):
    config = f"workers: {workers}\n" + studio.config(HERE % (LOOPED, TO_LEFT))
    with studio.daemon(config) as relay:
        left = Receiver(studio.left, "239.2.2.2:6001", idle=PATIENCE_S)
        send_here(studio, "239.1.1.1:5001", count)
        studio.send("239.1.1.1:5001", count)
        feed = await_packets(relay, "feed", 2 * count)
        report = left.interrupt()
    assert report.received == 2 * count
    assert report.is_flawless
    assert (feed["input"]["packets"], feed["dropped"], feed["input"]["loopback"]) == (2 * count, 0, True)


def test_without_loopback_an_input_takes_only_what_arrives(studio):
    with studio.relaying(HERE % ("", TO_LEFT)) as relay:
        left = Receiver(studio.left, "239.2.2.2:6001")
        send_here(studio, "239.1.1.1:5001", 1000)
        studio.send("239.1.1.1:5001", 500)
        report, feed = left.report(), rule_of(relay, "feed")
    assert report.received == feed["input"]["packets"] == 500


@pytest.mark.parametrize("count", [1, 5000])
def test_loopback_of_an_input_changes_nothing_for_other_rules_of_the_device(studio, count):
    other_port = (
        "port: {input: {interface: studio, group: 239.1.1.1, port: 5002}, outputs: [{interface: left}]}"
    )
    with_source = (
        "ssm-here: {input: {interface: studio, group: 239.1.1.3, port: 5003, sources: [10.1.0.1],"
        " loopback: true}, outputs: [{interface: left}]}"
    )
    other_source = (
        "ssm-there: {input: {interface: studio, group: 239.1.1.3, port: 5003, sources: [10.1.0.7]},"
        " outputs: [{interface: left}]}"
    )
    studio.relay.ip("address add 10.1.0.7/24 dev eth0")
    with studio.relaying(HERE % (LOOPED, TO_LEFT), other_port, with_source, other_source) as relay:
        left = Receiver(studio.left, "239.2.2.2:6001", idle=PATIENCE_S)
        for destination in ("239.1.1.1:5001", "239.1.1.1:5002", "239.1.1.3:5003"):
            send_here(studio, destination, count, "--source=10.1.0.1")
        send_here(studio, "239.1.1.3:5003", count, "--source=10.1.0.7")
        studio.send("239.1.1.1:5002", count)
        wait_until(lambda: rule_of(relay, "port")["input"]["packets"] == count, "the arriving packets")
        counts = {
            name: rule_of(relay, name)["input"]["packets"] for name in ("feed", "ssm-here", "ssm-there")
        }
        assert left.interrupt().received == count
    assert counts == {"feed": count, "ssm-here": count, "ssm-there": 0}


def test_a_reload_that_sets_or_deletes_loopback_loses_no_packet_of_other_rules(studio):
    other = "other: {input: {interface: studio, group: 239.1.1.9, port: 5009}, outputs: [{interface: left}]}"
    with studio.relaying(HERE % ("", TO_LEFT), other) as relay:
        left, feed = (
            Receiver(studio.left, "239.1.1.9:5009", idle=PATIENCE_S),
            Receiver(studio.left, "239.2.2.2:6001", idle=PATIENCE_S),
        )
        sending = studio.start_sending("239.1.1.9:5009", 40_000, rate=8000)
        for turn in range(6):
            option = "" if turn % 2 else LOOPED
            relay.reload(studio.config(HERE % (option, TO_LEFT), other))
            send_here(studio, "239.1.1.1:5001", 100)
        report_of(sending)
        await_packets(relay, "other", 40_000)
        report, fed = left.interrupt(), feed.interrupt()
    assert report.received == 40_000
    assert report.is_flawless
    assert fed.received == 300


def test_a_new_worker_takes_what_this_host_sends_as_well(studio):
    with studio.relaying(HERE % (LOOPED, TO_LEFT)) as relay:
        (worker,) = relay.workers()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: relay.workers() not in ([], [worker]), "a new worker")
        left = Receiver(studio.left, "239.2.2.2:6001")
        send_here(studio, "239.1.1.1:5001", 1000)
        report = left.report()
    assert report.received == 1000
    assert report.is_flawless


def test_a_trace_shows_what_this_host_sends(studio):
    with studio.relaying(HERE % (LOOPED, TO_LEFT)) as relay:
        tracing = studio.relay.start(mcrelay("trace", "feed", "--count=2", *relay.client_options))
        start_here(studio, "239.1.1.1:5001", 2000, rate=100)
        out, _ = tracing.communicate(timeout=TIMEOUT_S)
    assert out.count("> 239.1.1.1:5001") == 2
    assert "relayed to 239.2.2.2:6001 (eth1)" in out


# Outputs.


@pytest.mark.parametrize("count", [1, MANY])
def test_with_loopback_programs_of_this_host_hear_an_output_as_other_hosts_do(studio, count):
    with studio.relaying(HERE % ("", HEARD)) as relay:
        receivers = [
            Receiver(studio.left, "239.2.2.2:6001"),
            Receiver(studio.relay, "239.2.2.2:6001", "eth1"),
        ]
        studio.send("239.1.1.1:5001", count)
        reports, feed = [receiver.report() for receiver in receivers], rule_of(relay, "feed")
    assert [report.received for report in reports] == [count, count]
    assert all(report.is_flawless and report.sources == ["10.2.0.1"] for report in reports)
    assert (feed["outputs"][0]["loopback"], feed["outputs"][0]["packets"], feed["dropped"]) == (
        True,
        count,
        0,
    )


def test_without_loopback_only_other_hosts_hear_an_output(studio):
    with studio.relaying(HERE % ("", TO_LEFT)):
        left, here = Receiver(studio.left, "239.2.2.2:6001"), Receiver(studio.relay, "239.2.2.2:6001", "eth1")
        studio.send("239.1.1.1:5001", 1000)
        assert left.report().received == 1000
        assert here.interrupt().received == 0


def test_a_reload_makes_an_output_audible_on_this_host_and_mute_again(studio):
    with studio.relaying(HERE % ("", TO_LEFT)) as relay:
        for output, heard in ((HEARD, 500), (TO_LEFT, 0)):
            relay.reload(studio.config(HERE % ("", output)))
            left, here = (
                Receiver(studio.left, "239.2.2.2:6001"),
                Receiver(studio.relay, "239.2.2.2:6001", "eth1"),
            )
            studio.send("239.1.1.1:5001", 500)
            assert left.report().received == 500
            assert here.interrupt().received == heard


def test_an_output_with_a_fixed_source_port_and_its_twin_with_loopback_send_from_the_same_port(studio):
    twins = (
        "{interface: left, group: 239.2.2.2, port: 6001, source_port: 7001},"
        " {interface: left, group: 239.2.2.3, port: 6001, source_port: 7001, loopback: true}"
    )
    with studio.relaying(HERE % ("", twins)) as relay:
        left = [Receiver(studio.left, f"239.2.2.{n}:6001") for n in (2, 3)]
        here = [Receiver(studio.relay, f"239.2.2.{n}:6001", "eth1") for n in (2, 3)]
        studio.send("239.1.1.1:5001", 500)
        assert [receiver.report().received for receiver in left] == [500, 500]
        assert [receiver.interrupt().received for receiver in here] == [0, 500]
        assert rule_of(relay, "feed")["state"] == "active"


def receive_on(host, relay, *options):
    """Receive for a moment on a host, and return the problems of the report."""
    command = mcrelay("receive", "239.2.2.2:6001", "--json", "--duration=2", *options, *relay.client_options)
    return json.loads(host.run(command, check=False).stdout)["problems"]


def test_receive_on_the_host_of_the_relay_says_why_nothing_arrives(studio):
    with studio.relaying(HERE % ("", TO_LEFT)) as relay:
        sending = studio.start_sending("239.1.1.1:5001", 2000, rate=100)
        assert receive_on(studio.relay, relay, "--interface=eth1") == [
            "239.2.2.2:6001: nothing arrived: rule `feed` of the relay on this host sends to it, but this"
            " host does not hear it without `loopback: true` of the output"
        ]
        assert receive_on(studio.right, relay, "--interface=eth0") == ["239.2.2.2:6001: nothing arrived"]
        detail = relay.ask("status", "feed").stdout
        relay.reload(studio.config(HERE % ("", HEARD)))
        assert receive_on(studio.relay, relay, "--interface=eth1", "--count=1") == []
        assert receive_on(studio.relay, relay, "--interface=eth2") == [
            "239.2.2.2:6001: nothing arrived: rule `feed` of the relay on this host sends to it through eth1:"
            " give `--interface eth1`"
        ]
        sending.kill()
    assert "Programs on this host hear what is sent to a group only with `loopback: true`" in detail


# What the relay sends itself.


def test_with_loopback_both_directions_of_discovery_take_local_questions_and_no_own_packets(studio):
    discovery = (
        "{}: {{input: {{interface: {}, group: 239.255.255.250, port: 1900, loopback: true}},"
        " outputs: [{{interface: {}}}]}}"
    )
    rules = discovery.format("forth", "studio", "left"), discovery.format("back", "left", "studio")
    for sysctl in EVERY_NETWORK:
        studio.sender.sysctl(sysctl, 0)
    with studio.relaying(*rules) as relay:
        at_sender, at_left = (
            Receiver(host, "239.255.255.250:1900", idle=PATIENCE_S) for host in (studio.sender, studio.left)
        )
        before = studio.left.packets_received("eth0")
        studio.send("239.255.255.250:1900", 1000)
        send_here(studio, "239.255.255.250:1900", 700, device="eth1")
        back = await_own(relay, "back", 1000)
        forth = await_own(relay, "forth", 700)
        reports = at_sender.interrupt(), at_left.interrupt()
        after = studio.left.packets_received("eth0")
    assert reports[0].received_from["10.1.0.1"] == 700
    assert reports[1].received == 1700
    assert (back["input"]["packets"], back["input"]["drops"]["own"]) == (700, 1000)
    assert (forth["input"]["packets"], forth["input"]["drops"]["own"]) == (1000, 700)
    assert 1700 <= after - before < 1800


@pytest.mark.parametrize("count", [1, MANY])
@pytest.mark.parametrize("workers", [1, 2])
def test_what_the_relay_sends_to_the_input_of_another_rule_is_counted_as_own_of_that_rule(
    studio, workers, count
):
    chain = "next: {input: {interface: left, group: 239.2.2.2, port: 6001}, outputs: [{interface: right}]}"
    config = f"workers: {workers}\n" + studio.config(HERE % ("", TO_LEFT), chain)
    with studio.daemon(config) as relay:
        left, right = Receiver(studio.left, "239.2.2.2:6001"), Receiver(studio.right, "239.2.2.2:6001")
        studio.send("239.1.1.1:5001", count)
        assert left.report().received == count
        assert right.interrupt().received == 0
        chained = rule_of(relay, "next")
        assert "`feed` sends" in relay.log()
        checked, planned = relay.ask("check", str(relay.config)), relay.ask("plan")
    assert (chained["input"]["packets"], chained["input"]["drops"]["own"]) == (0, count)
    assert checked.returncode == 0
    assert "warning: 239.2.2.2:6001 on eth1 is what rule `feed` sends" in checked.stdout
    assert "239.2.2.2:6001 on eth1 is what rule `feed` sends" in planned.stderr


def test_what_a_chain_sends_over_lo_is_counted_once(studio):
    rules = (
        "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
        " outputs: [{interface: self, address: 127.0.0.1, port: 7001}]}",
        "next: {input: {interface: self, address: 127.0.0.1, port: 7001},"
        " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}",
    )
    config = studio.config(*rules).replace("rules:", "  self: {device: lo, source: 127.0.0.1}\nrules:")
    with studio.daemon(config) as relay:
        studio.send("239.1.1.1:5001", 30)
        chained = await_own(relay, "next", 30)
    assert (chained["input"]["packets"], chained["input"]["drops"]["own"]) == (0, 30)
