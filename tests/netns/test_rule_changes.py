"""Rules that come and go while the relay runs, also on trial, by the verbs of the command line."""

import json
import subprocess

import pytest

from mcrelay.lab import Receiver
from mcrelay.lab.command import mcrelay, wait_until
from tests.netns.support.relay_observer import Sending, assert_all_arrived, received

BOTH_PLANES = pytest.mark.planes("userspace", "kernel")

FEED = (
    "feed: {input: {interface: studio, group: 239.1.1.1, port: 5001},"
    " outputs: [{interface: left, group: 239.2.2.2, port: 6001}]}"
)
CAMERA = ("add", "camera", "--input=studio:239.1.1.7:5007", "--output=right:239.2.2.7:6007")


def says(relay, *words):
    """What a verb prints, where it ends well."""
    done = relay.ask(*words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def files_of_rules(relay):
    """The file of each rule that runs, as `mcrelay list` names it."""
    return {
        rule["name"]: rule["file"] for rule in json.loads("\n".join(says(relay, "list", "--json")))["rules"]
    }


@BOTH_PLANES
def test_a_rule_is_added_listed_seen_to_relay_removed_and_seen_to_stop(studio):
    with studio.relaying(FEED) as relay:
        file = relay.config.with_name("mcrelay.d") / "camera.yaml"
        assert says(relay, *CAMERA)[:2] == [
            f"camera: added, {file}",
            f"{relay.config}: applied, generation 2",
        ]
        assert files_of_rules(relay) == {"feed": str(relay.config), "camera": str(file)}
        assert any(line.startswith("camera ") and f"{file}:4" in line for line in says(relay, "list"))
        right = Receiver(studio.right, "239.2.2.7:6007")
        studio.send("239.1.1.7:5007", 1000)
        assert_all_arrived(right.report(), 1000)
        assert says(relay, "remove", "camera")[0] == f"camera: removed, {file}"
        assert files_of_rules(relay) == {"feed": str(relay.config)}
        before = received(studio.right, "eth0")
        left = Receiver(studio.left, "239.2.2.2:6001")
        studio.send("239.1.1.7:5007", 1000)
        studio.send("239.1.1.1:5001", 100)
        assert_all_arrived(left.report(), 100)
        assert received(studio.right, "eth0") - before < 100  # the link's own: IGMP, neighbours
        assert not file.exists()


@BOTH_PLANES
def test_rules_that_come_and_go_cost_the_others_no_packet(studio):
    with studio.relaying(FEED) as relay:
        workers = relay.workers()
        left = Receiver(studio.left, "239.2.2.2:6001")
        with Sending(studio.sender, "239.1.1.1:5001") as sending:
            for verb in (CAMERA, ("disable", "camera"), ("enable", "camera"), ("remove", "camera")) * 2:
                says(relay, *verb)
        assert_all_arrived(left.report(), sending.sent["239.1.1.1:5001"])
        assert relay.workers() == workers


def test_a_disabled_rule_rests_and_an_enabled_one_relays(studio):
    with studio.relaying(FEED) as relay:
        says(relay, *CAMERA, "--disabled")
        state = {
            rule["name"]: rule["state"] for rule in json.loads(says(relay, "list", "--json")[0])["rules"]
        }
        assert state == {"feed": "active", "camera": "disabled"}
        says(relay, "enable", "camera")
        right = Receiver(studio.right, "239.2.2.7:6007")
        studio.send("239.1.1.7:5007", 100)
        assert_all_arrived(right.report(), 100)


def test_the_same_again_changes_nothing_and_makes_no_generation(studio):
    with studio.relaying(FEED) as relay:
        says(relay, *CAMERA)
        again = says(relay, *CAMERA)
        (line,) = again
        assert line.startswith("camera: unchanged, ")
        assert says(relay, "remove", "nobody") == ["there is no rule `nobody`"]
        assert json.loads(says(relay, "status", "--json")[0])["generation"]["number"] == 2


def test_a_rule_that_the_file_has_and_the_relay_not_yet_runs_after_the_same_add(studio):
    with studio.relaying(FEED) as relay:
        offline = studio.relay.run(
            mcrelay(*CAMERA, "-c", str(relay.config), "--run-dir", "/nowhere"), check=False
        )
        assert offline.returncode == 0
        first, *rest = says(relay, *CAMERA)
        assert first.startswith("camera: unchanged, ")
        if rest:  # else the relay has found the file by itself meanwhile
            assert rest[0].startswith(f"{relay.config}: applied, generation 2")
        assert "camera" in files_of_rules(relay)


def test_what_the_relay_cannot_accept_leaves_the_files_as_they_were(studio):
    with studio.relaying(FEED) as relay:
        folder = relay.config.with_name("mcrelay.d")
        done = relay.ask(*CAMERA[:2], "--input=studio:239.1.1.1:5001", "--output=left")
        assert done.returncode == 78
        assert "is already relayed by rule `feed`" in done.stdout
        assert not folder.exists()
        assert json.loads(says(relay, "status", "--json")[0])["reload"]["outcome"] == "started"


def test_a_dry_run_says_what_the_reload_then_does(studio):
    with studio.relaying(FEED) as relay:
        preview = says(relay, *CAMERA, "--dry-run")
        assert preview[1] == f"{relay.config}: a reload would add 1 rule, and keep 1 rule"
        assert "+ camera: active" in preview
        assert files_of_rules(relay) == {"feed": str(relay.config)}
        assert "  added    1 rule: camera" in says(relay, *CAMERA)
        assert says(relay, "remove", "camera", "--dry-run")[-1] == "- camera"


def test_many_changes_at_once_all_come_to_run(studio):
    with studio.relaying(FEED) as relay:
        running = [
            studio.relay.start(
                mcrelay(
                    "add",
                    f"rule-{n}",
                    f"--input=studio:239.1.2.{n}:5001",
                    "--output=left",
                    *relay.client_options,
                )
            )
            for n in range(1, 7)
        ]
        assert [process.wait(120) for process in running] == [0] * 6
        assert files_of_rules(relay).keys() == {"feed", *(f"rule-{n}" for n in range(1, 7))}


# On trial.


def status(relay):
    """The status document."""
    return json.loads(says(relay, "status", "--json")[0])


@BOTH_PLANES
def test_whatever_is_changed_during_a_trial_is_taken_back_unless_somebody_confirms_it(studio):
    with studio.relaying(FEED, watch=True) as relay:
        file = relay.config.with_name("mcrelay.d") / "camera.yaml"
        lines = says(relay, "try", "--timeout", "4")
        assert lines[0] == f"{relay.config}: unchanged, generation 1 still runs"
        assert lines[1].startswith("on trial until ")
        says(relay, *CAMERA)
        assert status(relay)["trial"]["generation"] == 2
        assert "camera" in files_of_rules(relay)
        left = Receiver(studio.left, "239.2.2.2:6001")
        with Sending(studio.sender, "239.1.1.1:5001") as sending:
            wait_until(lambda: status(relay)["trial"] is None, "the end of the trial")
        assert_all_arrived(left.report(), sending.sent["239.1.1.1:5001"])
        assert status(relay)["reload"]["outcome"] == "rolled_back"
        assert relay.ask("status", "--exit-code").returncode == 5
        assert files_of_rules(relay) == {"feed": str(relay.config)}
        assert file.exists()  # so that the user can correct it
        assert says(relay, "reload")[0] == f"{relay.config}: applied, generation 4"
        assert "camera" in files_of_rules(relay)
        assert relay.ask("status", "--exit-code").returncode == 0


def test_a_file_that_is_saved_during_a_trial_is_on_trial_without_another_word(studio):
    with studio.relaying(FEED, watch=True) as relay:
        says(relay, "try", "--timeout", "60")
        relay.config.write_text(studio.config(FEED.replace("6001", "6002")))
        wait_until(lambda: status(relay)["trial"]["generation"] == 2, "what was saved")
        assert says(relay, "confirm") == ["generation 2 is confirmed"]
        assert status(relay)["rules"][0]["outputs"][0]["port"] == 6002


def test_what_is_confirmed_stays(studio):
    with studio.relaying(FEED) as relay:
        says(relay, "try", "--timeout", "60")
        says(relay, *CAMERA)
        assert says(relay, "confirm") == ["generation 2 is confirmed"]
        assert status(relay)["trial"] is None
        done = relay.ask("confirm")
        assert (done.returncode, done.stderr) == (1, "mcrelay: not confirmed: nothing is on trial\n")
        says(relay, "try", "--timeout", "1")
        wait_until(lambda: status(relay)["trial"] is None, "the end of a trial of nothing")
        assert status(relay)["generation"]["number"] == 2
        assert "camera" in files_of_rules(relay)


def test_files_that_are_changed_before_the_trial_are_tried_where_nobody_watches_them(studio):
    with studio.relaying(FEED, watch=False) as relay:
        relay.config.write_text(studio.config(FEED.replace("6001", "6002")))
        lines = says(relay, "try", "--timeout", "1")
        assert lines[:2] == [f"{relay.config}: applied, generation 2", "  changed  1 rule: feed"]
        wait_until(lambda: status(relay)["reload"]["outcome"] == "rolled_back", "the way back")
        assert status(relay)["rules"][0]["outputs"][0]["port"] == 6001


def test_bad_files_are_rejected_and_not_tried(studio):
    with studio.relaying(FEED, watch=False) as relay:
        relay.config.write_text("version: 2\n")
        done = relay.ask("try")
        assert done.returncode == 78
        assert done.stdout.endswith("rejected, generation 1 still runs\n")
        assert status(relay)["trial"] is None


def test_the_history_tells_what_was_done_and_a_diff_leads_back(studio):
    with studio.relaying(FEED, watch=False) as relay:
        says(relay, *CAMERA)
        says(relay, "disable", "camera")
        lines = says(relay, "history")
        assert [line.split()[-2:] for line in lines[1:]] == [
            ["added", "feed"],
            ["added", "camera"],
            ["changed", "camera"],
        ]
        assert [line.startswith("*") for line in lines[1:]] == [False, False, True]
        patch = says(relay, "diff", "2")
        assert "+    enabled: false" in patch
        assert "  changed  1 rule: camera" in patch
        command = ["patch", "-d", "/", "-p1", "-R"]
        subprocess.run(command, input="\n".join(patch) + "\n", text=True, check=True, timeout=60)
        says(relay, "reload")
        assert {rule["name"]: rule["state"] for rule in status(relay)["rules"]} == {
            "feed": "active",
            "camera": "active",
        }
        assert says(relay, "diff", "2")[0].startswith("nothing has changed since entry 2 ")
