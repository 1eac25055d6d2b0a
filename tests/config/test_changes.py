"""Which rules two configs have differently: by name, field by field, and as counts."""

from mcrelay.config.changes import MAX_NAMES, Changes, compare_configs
from mcrelay.config.compiler import compile_config
from mcrelay.config.reader import parse
from mcrelay.model.state import Egress, Route, RouteOutput

HEAD = "version: 1\ninterfaces: {studio: {device: eth0}, plant: {device: eth1}}\nrules:\n"


def config(head=HEAD, **ports):
    rules = "".join(
        f"  {name}: {{input: {{interface: studio, group: 239.1.1.1, port: {port}}},"
        f" outputs: [{{interface: plant}}]}}\n"
        for name, port in ports.items()
    )
    return compile_config([parse((head + rules).encode(), "mcrelay.yaml")])


def changes(before, after, route=None):
    return compare_configs(before, after, lambda config, rule: route)


def test_added_changed_and_removed_rules_are_named_in_the_order_of_the_file():
    found = changes(config(a=1, b=2, c=3), config(d=4, c=33, a=1, e=5))
    assert (found.added, found.removed, found.kept) == (("d", "e"), ("b",), ("a",))
    assert found.changed == {
        "c": ("input port: 3 -> 33", "output plant:239.1.1.1:3: removed", "output plant:239.1.1.1:33: added")
    }
    assert str(found) == "2 added, 1 changed, 1 removed, 1 kept"


def test_at_the_start_every_rule_is_added():
    assert changes(None, config(a=1)) == Changes(added=("a",))


def test_a_rule_that_only_moved_in_the_file_is_kept():
    assert changes(config(a=1, b=2), config(b=2, a=1)) == Changes(kept=("b", "a"))


def test_a_new_device_of_an_interface_changes_the_rules_that_use_it():
    after = config(HEAD.replace("eth0", "eth7"), a=1)
    assert changes(config(a=1), after).changed == {"a": ("input device: eth0 -> eth7",)}


def test_a_source_that_the_relay_chose_already_is_no_change():
    route = Route("a", (RouteOutput("plant", Egress(3, "10.9.2.1"), "239.1.1.1", 1, 64, "copy"),))
    after = config(HEAD.replace("eth1", "eth1, source: 10.9.2.1"), a=1)
    assert changes(config(a=1), after, route) == Changes(kept=("a",))
    assert changes(config(a=1), after).changed == {
        "a": ("output plant:239.1.1.1:1: source: none -> 10.9.2.1",),
    }


def test_each_changed_setting_of_the_file_is_told_in_its_words():
    after = config("workers: auto\nwatch: false\ndata_plane: kernel\nmax_age: 1500ms\n" + HEAD, a=1)
    texts = (
        "data_plane: auto -> kernel",
        "workers: 1 -> auto",
        "watch: true -> false",
        "max_age: 1s -> 1500ms",
    )
    assert changes(config(a=1), after) == Changes(kept=("a",), settings=texts)
    assert changes(None, after).settings == ()
    assert str(changes(config(a=1), after)) == "; ".join(("0 added, 0 changed, 0 removed, 1 kept", *texts))
    assert changes(config(a=1), after).as_json()["settings"] == list(texts)
    assert changes(config(a=1), config("max_age: 1000ms\n" + HEAD, a=1)) == Changes(kept=("a",))


def test_json_has_the_first_names_of_many_and_the_number_of_all():
    found = Changes(added=tuple(f"rule-{number}" for number in range(10_000)), kept=("a",)).as_json()
    assert len(found["added"]) == MAX_NAMES
    assert (found["added_count"], found["changed_count"], found["kept"]) == (10_000, 0, 1)


def test_the_data_plane_of_a_rule_is_compared_as_the_file_wants_it():
    def with_plane(keys, head=HEAD):
        ends = "input: {interface: studio, group: 239.1.1.1, port: 1}, outputs: [{interface: plant}]"
        return compile_config([parse(f"{head}  a: {{{ends}{keys}}}\n".encode(), "mcrelay.yaml")])

    auto = with_plane("")
    assert changes(auto, with_plane(", data_plane: kernel")).kept == ("a",)
    to_workers = "data plane: kernel -> userspace"
    assert changes(auto, with_plane(", data_plane: userspace")).changed == {"a": (to_workers,)}
    assert changes(auto, with_plane("", "data_plane: userspace\n" + HEAD)).changed == {"a": (to_workers,)}
    exclusive = with_plane(", exclusive: true")
    assert changes(auto, exclusive).changed == {"a": ("exclusive: false -> true",)}
