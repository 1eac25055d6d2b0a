"""The percentage of a CPU covers the last second or two."""

from mcrelay.status.process_usage import Usage, UsageHistory


def test_a_percentage_covers_the_last_second_or_two():
    history = UsageHistory()
    for now, seconds in ((10, 1.0), (11, 1.5), (12, 2.5)):
        history.sample({7: Usage(seconds, 0)}, now)
    assert history.cpu_percent(7, Usage(3.5, 0), 12.5) == 133.3
    assert history.cpu_percent(7, Usage(3.5, 0), 13) == 100


def test_a_percentage_is_unknown_without_a_sample_of_the_process():
    history = UsageHistory()
    history.sample({7: Usage(1.0, 0)}, 10)
    assert history.cpu_percent(8, Usage(3.5, 0), 13) is None
    assert history.cpu_percent(7, Usage(3.5, 0), 10.9) is None
