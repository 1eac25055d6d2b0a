"""What README and manual show of the program's output is what the program prints, but for the numbers."""

import json
import re
from pathlib import Path
from textwrap import dedent

import pytest

from mcrelay.lab import Daemon, Lab, start_sending
from mcrelay.lab.command import mcrelay, wait_until

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "packaging" / "manual").glob("*.md"))]
SHOWN_ELSEWHERE = {"history"}  # its example has several configurations and a rollback
CONFIG = """\
version: 1
interfaces:
  studio: {device: eth0}
  plant: {device: eth1}
  wan: {device: wg0}
rules:
  camera:
    input: {interface: studio, group: 239.1.1.1, port: 5001}
    outputs: [{interface: plant, group: 239.2.2.2, port: 6001}]
  intercom:
    input: {interface: studio, group: 239.1.1.2, port: 5002}
    outputs: [{interface: plant}]
  backup:
    input: {interface: studio, group: 239.1.1.2, port: 5003}
    outputs: [{interface: wan}]
"""


def transcripts_of(text):
    """Yield each command of a text that is shown with its output, as the words of the verb and the lines."""
    for block in re.findall(r"^    \$ .*\n(?:^    .*\n|^\n)*", text, re.MULTILINE):
        for part in re.split(r"^\$ ", dedent(block), flags=re.MULTILINE)[1:]:
            command, *lines = part.strip("\n").split("\n")
            if lines and (words := re.search(r"mcrelay (.*)", command.rpartition("&&")[2])):
                yield words[1].split(), lines


def shape_of(line):
    """Return a line without what differs each time: numbers, their units, hashes and the width of columns."""
    line = re.sub(r"\b[0-9a-f]{12}\b", "HASH", line)
    line = re.sub(r"\d[\d.,:]*", "#", line)
    line = re.sub(r"#\s?[kMG](?=B\b|bit\b|\b)", "# ", line)
    return " ".join(line.split())


def is_part_of(lines, printed):
    """Whether the lines appear in this order in what was printed."""
    left = iter([shape_of(line) for line in printed.splitlines()])
    return all(shape_of(line) in left for line in lines)


TRANSCRIPTS = [
    (page.name, words, lines)
    for page in PAGES
    for words, lines in transcripts_of(page.read_text())
    if words[0] not in SHOWN_ELSEWHERE
]


@pytest.fixture
def printed(tmp_path):
    """What each verb prints in the course of the manual's examples, by the words of the command."""
    folder, found = tmp_path, []

    def run(host, *words, options=()):
        replaced = [
            str(folder / word) if word.endswith(".yaml") and "/" not in word else word for word in words
        ]
        replaced = [str(daemon.config) if word == "/etc/mcrelay.yaml" else word for word in replaced]
        done = host.run(mcrelay(*replaced, *options), check=False)
        text = (done.stdout + done.stderr).replace(str(daemon.config), "/etc/mcrelay.yaml")
        found.append((list(words), text.replace(f"{folder}/", "")))

    def rates_are_known():
        document = json.loads(daemon.ask("status", "--json").stdout)
        rates = [interface["packets_per_second"] for interface in document["interfaces"][:1]]
        return None not in [*rates, *(rule["input"]["packets_per_second"] for rule in document["rules"][:2])]

    with Lab() as lab:
        sender, relay, receiver = (lab.host(name) for name in ("sender", "relay", "receiver"))
        lab.link(sender.end("eth0", "192.168.168.55/24"), relay.end("eth0", "10.1.0.1/24"))
        lab.link(relay.end("eth1", "10.9.2.1/24"), receiver.end("eth1", "10.9.2.50/24"))
        daemon = Daemon(relay, folder / "daemon", CONFIG, watch=False)
        draft = CONFIG.replace("group: 239.1.1.1, port: 5001", "group: 239.1.1.1, port: 5002")
        (folder / "draft.yaml").write_text(draft)
        (folder / "mcrelay.yaml").write_text("version: 1\ninterfacs:\n  studio: {device: eth0}\n")
        with daemon:
            traffic = ("--interface=eth0", "--ttl=1", "--duration=60")
            start_sending(sender, "239.1.1.1:5002", "--rate=1000", "--size=1316", *traffic)
            start_sending(sender, "239.1.1.2:5002", "--rate=50", "--size=170", *traffic)
            wait_until(rates_are_known, "the rates")
            run(relay, "check", "mcrelay.yaml")
            run(relay, "status", "camera", options=daemon.client_options)
            run(relay, "trace", "camera", "--count", "1", options=daemon.client_options)
            run(relay, "plan", "--as", "/etc/mcrelay.yaml", "draft.yaml", options=daemon.client_options)
            daemon.config.write_text(draft)
            run(relay, "reload", options=daemon.client_options)
            wait_until(rates_are_known, "the rates")
            run(relay, "status", options=daemon.client_options)
            run(relay, "trace", "camera", "--count", "1", options=daemon.client_options)
            daemon.config.write_text(draft.replace("port: 5002}", "prot: 5002}", 1))
            run(relay, "reload", options=daemon.client_options)
            run(receiver, "receive", "239.2.2.2:6001", "--interface", "eth1", options=("--count", "200"))
    return found


def test_what_is_shown_is_what_is_printed(printed):
    different = [
        (page, words, lines)
        for page, words, lines in TRANSCRIPTS
        if not any(command == words and is_part_of(lines, text) for command, text in printed)
    ]
    assert different == [], printed


def test_there_are_transcripts_to_look_at():
    assert len(TRANSCRIPTS) >= 9
