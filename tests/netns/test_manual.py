"""What the manual shows, tried on a running daemon."""

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

PAGE = Path(__file__).parents[2] / "packaging" / "manual" / "mcrelay-control.7.md"
FEED = "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001}, outputs: [{interface: left}]}"


def test_the_program_of_the_manual_is_answered_by_the_daemon(studio):
    program = dedent(re.search(r"^    import json.*?(?=^\S)", PAGE.read_text(), re.M | re.S)[0])
    with studio.relaying(FEED) as daemon:
        daemon.reload(studio.config(FEED.replace("5001", "5002")))
        socket = str(daemon.run_dir / "control.sock")
        here = program.replace("/run/mcrelay/control.sock", socket)
        assert here != program
        done = subprocess.run([sys.executable, "-c", here], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("2\n", "")
