"""Reconciling schedules: from anything that is there to what is wanted, and then nothing is left to do."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pipelines.cluster.config import Schedule
from pipelines.cluster.schedules import Action, Existing, Mark, Wanted, plan, recurring_run_of

OWNER = "ml/sphinx-x"
START = datetime(2026, 11, 25, tzinfo=UTC)

schedules = st.builds(
    Schedule,
    name=st.sampled_from(["nightly", "weekly", "a", "b"]),
    cron=st.sampled_from(["0 0 2 * * *", "0 0 3 * * *"]),
    paused=st.booleans(),
    parameters=st.dictionaries(st.sampled_from(["x", "y"]), st.integers(0, 1), max_size=1),
)
wanted_lists = st.lists(schedules, max_size=4, unique_by=lambda one: one.name).map(lambda found: [wanted(one) for one in found])
existing_lists = st.lists(st.tuples(schedules, st.booleans(), st.integers(0, 2)), max_size=6).map(
    lambda found: [
        Existing(f"id-{number}", wanted(one).mark, enabled, START + timedelta(seconds=age))
        for number, (one, enabled, age) in enumerate(found)
    ]
)


def wanted(schedule: Schedule, **changes) -> Wanted:
    return Wanted(**{"owner": OWNER, "schedule": schedule, "pipeline_id": "p", "experiment_id": "e"} | changes)


def take(actions: list[Action], existing: list[Existing], maker: str = "new") -> list[Existing]:
    """What Kubeflow holds afterwards."""
    there = {one.id: one for one in existing}
    for number, action in enumerate(actions):
        if action.kind == "create":
            assert action.wanted is not None
            made = Existing(
                f"{maker}-{number}", action.wanted.mark, not action.wanted.schedule.paused, START + timedelta(days=1)
            )
            there[made.id] = made
        elif action.kind == "delete":
            assert not there[action.id].is_enabled, "a schedule that goes is disabled first"
            del there[action.id]
        else:
            there[action.id] = Existing(action.id, there[action.id].mark, action.kind == "enable", there[action.id].created)
    return list(there.values())


def as_told(existing: list[Existing]) -> dict:
    return {one.mark: one.is_enabled for one in existing}


@given(wanted_lists, existing_lists)
def test_reconciling_twice_leaves_nothing_to_do(wished, existing):
    after = take(plan(wished, existing), existing)
    assert as_told(after) == {one.mark: not one.schedule.paused for one in wished}
    assert len(after) == len(wished)
    assert plan(wished, after) == []


@given(wanted_lists, existing_lists)
def test_what_is_as_wanted_is_not_touched(wished, existing):
    touched = {action.id for action in plan(wished, existing)}
    for one in wished:
        same = sorted((old for old in existing if old.mark == one.mark), key=lambda old: (old.created, old.id))
        if same and same[0].is_enabled != one.schedule.paused:
            assert same[0].id not in touched


@given(wanted_lists, existing_lists)
def test_two_at_once_agree_on_one_schedule_each(wished, existing):
    first, second = plan(wished, existing), plan(wished, existing)
    after = take(first, existing, "first")
    made_by_second = [action for action in second if action.kind == "create"]
    after = take(made_by_second, after, "second")
    # Each looks again; whoever comes first removes the doubles, the other finds nothing to do.
    settled = take(plan(wished, after), after)
    assert as_told(settled) == {one.mark: not one.schedule.paused for one in wished}
    assert len(settled) == len(wished)
    assert plan(wished, settled) == []


def test_everything_that_is_asked_for_counts_as_content():
    one = wanted(Schedule(name="nightly", cron="0 0 2 * * *", parameters={"x": 1}))
    others = [
        wanted(Schedule(name="nightly", cron="0 0 3 * * *", parameters={"x": 1})),
        wanted(Schedule(name="nightly", cron="0 0 2 * * *", parameters={"x": 2})),
        wanted(one.schedule, pipeline_id="q"),
        wanted(one.schedule, experiment_id="f"),
        wanted(one.schedule, service_account="s"),
    ]
    assert one.mark.content not in {other.mark.content for other in others}
    assert wanted(one.schedule.model_copy(update={"paused": True})).mark == one.mark


def test_the_mark_survives_the_description_and_strangers_have_none():
    mark = wanted(Schedule(name="nightly", cron="0 0 2 * * *")).mark
    assert Mark.of(mark.description()) == mark
    for stranger in (None, "", "a schedule of mine", "sphinx-x schedule {broken", 'sphinx-x schedule {"owner": "x"}'):
        assert Mark.of(stranger) is None


def test_a_recurring_run_takes_the_latest_version_one_at_a_time_and_makes_up_for_nothing():
    made = recurring_run_of(wanted(Schedule(name="nightly", cron="0 0 2 * * *", paused=True)))
    assert made.pipeline_version_reference.pipeline_version_id is None
    assert (made.max_concurrency, made.no_catchup, made.mode) == ("1", True, "DISABLE")
