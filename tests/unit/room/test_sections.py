"""Which requests for media sections are followed."""

from __future__ import annotations

from sansio.base.limits import SECTION_REQUESTS
from sansio.room.sections import SectionRequests


def followed(requests, audios, videos, *, answers, in_use=0, times=1):
    """How many of so many equal requests, one after each answer from ``answers`` on, are followed."""
    asked = [requests.follow(audios, videos, answers=answers + count, in_use=in_use) for count in range(times)]
    assert asked == sorted(asked, reverse=True), "once refused, always refused"
    return sum(asked)


def test_the_same_one_is_followed_a_few_times_while_nothing_comes_of_it():
    requests = SectionRequests()
    assert followed(requests, 1, 0, answers=1, times=50) == 1 + SECTION_REQUESTS
    assert followed(requests, 1, 1, answers=51, times=50) == 1 + SECTION_REQUESTS
    assert followed(requests, 1, 0, answers=101) == 1


def test_one_that_was_met_may_come_again():
    requests = SectionRequests()
    for count in range(50):
        assert requests.follow(0, 1, answers=count, in_use=count)


def test_what_was_repeated_before_an_answer_could_meet_it_does_not_count():
    requests = SectionRequests()
    for _ in range(50):
        assert requests.follow(2, 0, answers=1, in_use=0)


def test_a_requirement_of_nothing_is_followed_always():
    requests = SectionRequests()
    assert followed(requests, 0, 0, answers=1, times=50) == 50
