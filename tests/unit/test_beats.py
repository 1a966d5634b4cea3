"""What a worker concludes from the beats that it hears, and from those that it does not."""

import pytest

from turnstream_worker.beats import REMEMBERED, Beats

DEAD_AFTER = 2  # seconds
BEAT = 0.5  # seconds
A, B, C = "worker_a", "worker_b", "worker_c"


class Site:
    """What worker B hears, by a clock of its own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.beats = Beats(B, DEAD_AFTER, lambda: self.now)

    def listen(self, seconds: float, *workers: str) -> None:
        """Let time pass in which these workers beat."""
        for _ in range(round(seconds / BEAT)):
            self.now += BEAT
            for worker in workers:
                self.beats.hear(worker)


@pytest.fixture
def site() -> Site:
    """All three live."""
    site = Site()
    site.listen(5, A, B, C)
    return site


def test_all_live(site: Site) -> None:
    """Of workers that live nobody is dead, and the first by its id leads."""
    assert site.beats.dead == set()
    assert not site.beats.leads


def test_death(site: Site) -> None:
    """A worker that falls silent is dead after its time, not before, and the next one leads."""
    site.listen(DEAD_AFTER, B, C)
    assert site.beats.dead == set()
    site.listen(BEAT, B, C)
    assert site.beats.dead == {A}
    assert site.beats.leads


def test_return(site: Site) -> None:
    """A worker that is heard again lives, and leads again."""
    site.listen(2 * DEAD_AFTER, B, C)
    site.beats.hear(A)
    assert site.beats.dead == set()
    assert not site.beats.leads


def test_deaf(site: Site) -> None:
    """One that does not hear itself judges nobody and does not lead; when it hears again, all have their time anew."""
    site.listen(10)
    assert site.beats.dead == set()
    assert not site.beats.leads
    site.listen(DEAD_AFTER, B)
    assert site.beats.dead == set()
    site.listen(2 * BEAT, B)
    assert site.beats.dead == {A, C}
    assert site.beats.leads


def test_paused(site: Site) -> None:
    """One that wakes from a pause judges by the silence that it is awake for, not by what it has slept through."""
    site.now += 30
    for _ in range(1 + 2 * DEAD_AFTER):  # it hears itself from the first of these beats on
        assert site.beats.dead == set()
        site.listen(BEAT, B, C)
    assert site.beats.dead == set()
    site.listen(BEAT, B, C)
    assert site.beats.dead == {A}


def test_leaves_in_order(site: Site) -> None:
    """A worker that has left in order is not dead, and does not lead any more."""
    site.beats.bury([A])
    site.listen(10, B, C)
    assert site.beats.dead == set()
    assert site.beats.leads


def test_never_heard(site: Site) -> None:
    """A worker of which only its turns are known is dead if it is not heard, and lives if it is."""
    site.beats.notice(["worker_of_yore", C, "worker_new"])
    site.listen(DEAD_AFTER + BEAT, A, B, C, "worker_new")
    assert site.beats.dead == {"worker_of_yore"}


def test_death_is_known_until_somebody_acts(site: Site) -> None:
    """One that does not lead remembers who has died, for its leader may die too, but not for ever."""
    site.listen(10, A, B)
    site.listen(DEAD_AFTER + BEAT, B)
    assert site.beats.leads
    assert site.beats.dead == {A, C}
    site.beats.bury([A])
    site.listen(REMEMBERED, B)
    assert site.beats.dead == set()
    assert site.beats.leads


def test_before_anything_is_heard() -> None:
    """A worker that has just started neither leads nor judges before it hears itself."""
    site = Site()
    site.beats.notice([A])
    site.listen(10)
    assert not site.beats.leads
    assert site.beats.dead == set()


@pytest.mark.parametrize(
    ("blind", "leads"), [({A}, True), ({A, C}, True), ({B}, False), ({A, B}, False), ({C}, False), ({A, B, C}, False)]
)
def test_blind(site: Site, blind: set[str], leads: bool) -> None:
    """A worker that says that it cannot reach the store lives, and another leads, if there is one that can."""
    for worker in (A, B, C):
        site.beats.hear(worker, blind=worker in blind)
    assert site.beats.dead == set()
    assert site.beats.leads == leads


def test_sees_again(site: Site) -> None:
    """A worker that reaches the store again leads again."""
    for blind in (True, False):
        site.beats.hear(A, blind=blind)
        assert site.beats.leads == blind
