"""A payment only moves forward, whatever is reported, however often and in whichever order."""

from hypothesis import given
from hypothesis import strategies as st

from callboard.payments import Status, advance
from callboard.payments.status import contradicts

ORDER = [Status.CREATED, Status.PENDING, Status.WAITING_FOR_CAPTURE]
statuses = st.sampled_from(Status)


def fold(reports, start=Status.CREATED):
    for reported in reports:
        start = advance(start, reported)
    return start


@given(statuses, statuses)
def test_a_final_state_is_never_left(final, reported):
    if final.is_final:
        assert advance(final, reported) is final


@given(statuses, statuses)
def test_a_payment_never_moves_backwards(current, reported):
    moved = advance(current, reported)
    assert moved in (current, reported)
    if current in ORDER and moved in ORDER:
        assert ORDER.index(moved) >= ORDER.index(current)


@given(statuses, statuses)
def test_the_same_report_twice_does_what_one_does(current, reported):
    once = advance(current, reported)
    assert advance(once, reported) is once


@given(st.lists(st.sampled_from([*ORDER, Status.SUCCEEDED])), st.randoms())
def test_the_order_of_reports_does_not_matter(reports, random):
    shuffled = list(reports)
    random.shuffle(shuffled)
    assert fold(reports) is fold(shuffled)


@given(st.lists(statuses))
def test_the_first_final_report_decides(reports):
    finals = [reported for reported in reports if reported.is_final]
    assert not finals or fold(reports) is finals[0]


def test_only_two_different_final_states_contradict_each_other():
    pairs = {(a, b) for a in Status for b in Status if contradicts(a, b)}
    assert pairs == {(Status.SUCCEEDED, Status.CANCELED), (Status.CANCELED, Status.SUCCEEDED)}
