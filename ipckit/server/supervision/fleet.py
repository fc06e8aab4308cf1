"""Which processes a server has, wants and replaces: decisions only, no fork and no clock.

A *slot* is a worker number. A *place* is slot * 2 + parity: a slot has two, so that a successor
can be ready before its predecessor leaves. A *member* is one process at one place.

ipckit.server.supervision.member has the life of a member, as a table.

Contract  every event (ready, leaving, died, reload, replace, tick) returns the actions it calls
          for; the manager does them. The same events give the same actions.
Stands on ipckit.server.supervision.{member,actions}, ipckit.server.system.failure_policy: pure too.
Invariants
  F1  At most one member is at a place. At most one member of a slot is serving.
  F2  A slot whose serving member died or leaves has a successor that boots, or a fork that is due,
      or a leaving member at both places. stop() ends that.
  F3  A reload replaces one slot at a time. It ends when all slots were replaced, or when one
      process failed to boot. A slot is replaced when its only process was forked after the reload
      began.
  F4  The fleet gives up only before all slots were served at the same time for the first time.
  F5  A fork that is refused is tried again, with the pauses of a failed boot. Until then its place
      is free.
  F6  A member that was asked to leave, or said that it goes, has a deadline: Abort at the deadline,
      Kill DUMP_SECONDS later. stop() ends that.
  F7  A request to replace a slot is never lost: the process that it meant, booting or serving, is
      replaced as soon as it serves and the other place is free.
  F8  Reloads are numbered 1, 2, ... as they begin; the one that waits has the next number. Each has
      one ReloadDone, unless stop() comes first.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ipckit.server.shared.exit_codes import EXIT_BOOT_FAILED, EXIT_BROKEN, IN_ORDER
from ipckit.server.supervision.actions import (
    Abort,
    Action,
    Flapping,
    Fork,
    GiveUp,
    Kill,
    Leave,
    ReloadBegun,
    ReloadDone,
)
from ipckit.server.supervision.member import Event, Member, Stage
from ipckit.server.system.failure_policy import Operation, decide, pause_after

__all__ = ["DUMP_SECONDS", "FLAPPING_WINDOW", "Fleet"]

BOOT_FAILURES = 5
BOOT_WINDOW = 10.0
MAX_BOOT_FORKS = 12
FORKS_A_SECOND = 10
"""Most processes that follow dead ones in one slot, where they had been ready."""

FLAPPING_DEATHS = 5
FLAPPING_WINDOW = 10.0
BROKEN_WINDOW = 10.0
DUMP_SECONDS = 0.5
"""Between the stack dump of a process that did not end in time and its SIGKILL."""


_GO = frozenset({Stage.RETIRING, Stage.LEAVING})
"""Its replacement is there, or on its way."""


@dataclass(slots=True)
class _Slot:
    members: dict[int, Member] = field(default_factory=dict)  # by place
    incarnation: int = 0
    failures: int = 0  # deaths before ready in a row
    deaths: deque[float] = field(default_factory=deque)  # of ready ones, in FLAPPING_WINDOW
    flapping: bool = False
    followers: deque[float] = field(default_factory=lambda: deque(maxlen=FORKS_A_SECOND))
    broken: int = 0  # ends by something that will be so again, within BROKEN_WINDOW of the last
    broken_at: float = 0.0
    due: float | None = None  # when to try again
    due_place: int = 0
    outdated: int = 0  # F7: incarnations up to this one are to be replaced
    stale: int = 0  # F3: incarnations up to this one were forked before the reload
    coming: bool = False  # a Fork was returned and is not yet done


class Fleet:
    """All slots: workers 0..worker_num-1, then task workers."""

    def __init__(self, worker_num: int, task_worker_num: int, leave_within: float) -> None:
        """`leave_within`: seconds for a process that was asked to leave."""
        self._worker_num = worker_num
        self._leave_within = leave_within
        self._slots = [_Slot() for _ in range(worker_num + task_worker_num)]
        self._stopping = False
        self._was_ready = False  # all slots at once, at least one time
        self._boot_deaths: deque[float] = deque()
        self._boot_forks = 0
        self._reload: deque[int] = deque()
        self._replacing: int | None = None
        self._reload_queued: bool | None = None  # only_task of the reload that comes next
        self._reload_number = 0  # of the last one that began
        self._late: list[int] = []  # slots with an Abort in the reload that runs

    # -- what is ---

    def members(self) -> list[Member]:
        """Return every living process."""
        return [member for slot in self._slots for member in slot.members.values()]

    def member(self, place: int) -> Member | None:
        """Return the process at a place, None when there is none."""
        return self._slots[place // 2].members.get(place)

    def serving(self, slot: int) -> Member | None:
        """Return the newest serving process of a slot."""
        ready = [m for m in self._slots[slot].members.values() if m.stage is Stage.SERVING]
        return max(ready, key=lambda m: m.incarnation, default=None)

    def newest(self, slot: int) -> Member | None:
        """Return the newest process of a slot that is not about to leave."""
        staying = [m for m in self._slots[slot].members.values() if m.stage not in _GO]
        return max(staying, key=lambda m: m.incarnation, default=None)

    def all_ready(self) -> bool:
        """Whether every slot has a serving process."""
        return all(self.serving(slot) for slot in range(len(self._slots)))

    @property
    def reloading(self) -> bool:
        """Whether a reload runs."""
        return self._replacing is not None

    @property
    def last_reload(self) -> int:
        """F8. Number of the reload that began, or waits, last; 0: none comes any more."""
        if self._stopping:
            return 0
        return self._reload_number + (self._reload_queued is not None)

    def is_flapping(self, slot: int) -> bool:
        """Whether its processes died again and again, the last time it was looked at."""
        return self._slots[slot].flapping

    def next_due(self) -> float | None:
        """When tick() has something to do; None: nothing is due."""
        forks = (slot.due for slot in self._slots)
        deadlines = (member.leave_by for member in self.members())
        return min((at for at in (*forks, *deadlines) if at is not None), default=None)

    # -- what happens ---

    def boot(self) -> list[Action]:
        """Return the forks of the first start: task workers first, they are needed first."""
        order = [*range(self._worker_num, len(self._slots)), *range(self._worker_num)]
        return [self._fork(slot * 2) for slot in order]

    def forked(self, place: int, incarnation: int, pid: int) -> None:
        """A process was made."""
        slot = self._slots[place // 2]
        slot.members[place] = Member(place, incarnation, pid)
        slot.coming = False

    def fork_failed(self, place: int, why: str, code: int | None, now: float) -> list[Action]:
        """F5: the kernel made no process for this place; `code`: the errno."""
        slot = self._slots[place // 2]
        if self._stopping:
            return []
        slot.coming = False
        slot.failures += 1
        reloaded = self._replacing == place // 2 and self.serving(place // 2) is not None
        operation = Operation.REPLACE if reloaded else Operation.RESTORE
        if not self._was_ready:
            self._boot_forks -= 1  # none was made
            operation = Operation.BOOT
        pause = decide(operation, code, slot.failures)
        if pause is not None:
            slot.due, slot.due_place = now + pause, place
            return []
        if operation is Operation.BOOT:
            return [GiveUp(place, f"{why} (attempt {slot.failures})")]
        slot.failures = 0
        old = self.serving(place // 2)
        if old is not None and old.incarnation <= slot.outdated:  # F7
            slot.due, slot.due_place = now + pause_after(1), place
        return self._reload_over(now, failed=place)  # the old process stays

    def ready(self, place: int, now: float) -> list[Action]:
        """A process says it can serve. Its predecessor may go."""
        slot = self._slots[place // 2]
        if not slot.members[place].move(Event.READY):
            return []  # it said so before
        slot.failures = 0
        self._was_ready = self._was_ready or self.all_ready()
        actions: list[Action] = []
        for other in slot.members.values():
            if other.place != place and other.stage is not Stage.LEAVING:
                self._leaves(other, Event.REPLACED, now)
                actions.append(Leave(other.place))
        return [*actions, *self._renew(place // 2, now), *self._go_on(now)]

    def leaving(self, place: int, now: float, *, gone: bool) -> list[Action]:
        """A process wants to go; `gone`: it takes nothing new and goes by itself."""
        slot = self._slots[place // 2]
        member = slot.members.get(place)
        if member is None or self._stopping:
            return []
        before = member.stage
        if before is Stage.BOOTING:  # F7
            slot.outdated = max(slot.outdated, member.incarnation)
        if gone:
            self._leaves(member, Event.GOES, now)
        else:
            member.move(Event.ASKS)
        if before is not Stage.SERVING:  # it has a successor, or one is on its way
            return []
        if place ^ 1 in slot.members:  # its successor; or one who leaves, whose death forks
            return []
        return [self._fork(place ^ 1)]

    def died(self, place: int, exit_code: int | None, now: float) -> list[Action]:
        """A process was reaped. `exit_code` None: a signal, or unknown."""
        slot = self._slots[place // 2]
        member = slot.members.pop(place)
        stage = member.stage
        member.move(Event.DIED)
        if self._stopping:
            return []
        if stage is Stage.BOOTING:
            actions = self._died_booting(slot, member, exit_code, now)
        else:
            actions = self._died_ready(slot, member, exit_code, now)
        if any(isinstance(action, GiveUp) for action in actions):
            return actions
        return [*actions, *self._renew(place // 2, now), *self._go_on(now)]

    def reload(self, now: float, *, only_task: bool) -> tuple[bool, list[Action]]:
        """Replace all (or all task workers). False: one runs, and this one comes after it.

        After stop() it is False too, and nothing comes.
        """
        if self._stopping:
            return False, []
        if self.reloading:
            self._reload_queued = only_task and self._reload_queued is not False
            return False, []
        first = self._worker_num if only_task else 0
        for slot in self._slots[first:]:
            slot.stale = slot.incarnation
        self._reload = deque(range(first, len(self._slots)))
        self._reload_number += 1
        self._late = []
        return True, [ReloadBegun(self._reload_number), *self._next_replacement(now)]

    def replace(self, slot_number: int, now: float, place: int | None = None) -> list[Action]:
        """Replace one process: the successor is ready, then the old one goes. F7.

        `place`: of the process that is meant; None: of the slot's that serves, or boots.
        """
        slot = self._slots[slot_number]
        member = self.serving(slot_number) or self.newest(slot_number)
        if place is not None:
            member = slot.members.get(place)
        if self._stopping or member is None or member.stage in _GO:
            return []  # it is followed by another anyhow
        slot.outdated = max(slot.outdated, member.incarnation)
        return self._renew(slot_number, now)

    def tick(self, now: float) -> list[Action]:
        """Return the forks whose delay is over, and what becomes of those who are late (F6)."""
        actions: list[Action] = []
        if self._stopping:
            return actions
        for slot in self._slots:
            if slot.due is not None and slot.due <= now:
                slot.due = None
                actions.append(self._fork(slot.due_place))
            for member in slot.members.values():
                if member.leave_by is None or now < member.leave_by:
                    continue
                if member.aborted:
                    member.leave_by = None
                    actions.append(Kill(member.place))
                else:
                    member.leave_by, member.aborted = now + DUMP_SECONDS, True
                    actions.append(Abort(member.place))
                    if member.place // 2 == self._replacing:
                        self._late.append(member.place // 2)
        return actions

    def stop(self) -> None:
        """From now on nothing is replaced, and nobody has a deadline of its own."""
        self._stopping = True
        self._reload.clear()
        self._replacing = None
        for slot in self._slots:
            slot.due = None
        for member in self.members():
            member.leave_by = None

    # -- private ---

    def _leaves(self, member: Member, event: Event, now: float) -> None:
        """F6. From now on it has a deadline, unless it boots."""
        if member.move(event):
            member.leave_by = None if self._stopping else now + self._leave_within

    def _renew(self, slot_number: int, now: float) -> list[Action]:
        """F7. Fork the successor of a process that is to be replaced, if it can be now."""
        slot, member = self._slots[slot_number], self.newest(slot_number)
        outdated = slot.outdated
        if slot_number == self._replacing:
            outdated = max(outdated, slot.stale)
        if self._stopping or member is None or member.incarnation > outdated:
            return []
        if member.stage is Stage.BOOTING or member.place ^ 1 in slot.members:
            return []  # when it serves; when the other place is free
        if slot.due is not None or slot.coming:
            return []
        when = _next_fork(slot, now)
        if when > now:
            slot.due, slot.due_place = when, member.place ^ 1
            return []
        return [self._fork(member.place ^ 1)]

    def _died_ready(
        self, slot: _Slot, member: Member, exit_code: int | None, now: float
    ) -> list[Action]:
        if slot.due is not None:
            return []
        if not self._was_ready and exit_code not in IN_ORDER:
            given_up = self._bad_start(member, now)
            if given_up:
                return given_up
        if exit_code == EXIT_BROKEN:
            again = now - slot.broken_at <= BROKEN_WINDOW
            slot.broken, slot.broken_at = slot.broken + 1 if again else 1, now
            if not slot.members:
                slot.due, slot.due_place = now + pause_after(slot.broken), member.place
                return []
        if all(other.stage in _GO for other in slot.members.values()):
            return self._follow(slot, member.place, now)
        return []

    def _follow(self, slot: _Slot, place: int, now: float) -> list[Action]:
        """Fork the next process of a slot where none stays: FORKS_A_SECOND at most."""
        deaths = slot.deaths
        deaths.append(now)
        while deaths[0] <= now - FLAPPING_WINDOW:
            deaths.popleft()
        actions: list[Action] = []
        if len(deaths) > FLAPPING_DEATHS and not slot.flapping:
            actions.append(Flapping(place // 2, len(deaths)))
        slot.flapping = len(deaths) > FLAPPING_DEATHS
        when = _next_fork(slot, now)
        if when > now and not slot.members:
            slot.due, slot.due_place = when, place
            return actions
        return [*actions, self._fork(place)]

    def _fork(self, place: int) -> Fork:
        slot = self._slots[place // 2]
        slot.incarnation += 1
        slot.due, slot.coming = None, True  # this is it
        if not self._was_ready:
            self._boot_forks += 1
        return Fork(place, slot.incarnation)

    def _died_booting(
        self, slot: _Slot, member: Member, exit_code: int | None, now: float
    ) -> list[Action]:
        slot.failures += 1
        failed = self._replacing == member.place // 2 and member.incarnation > slot.stale
        old = self.serving(member.place // 2)
        stays = failed and old is not None and old.incarnation > slot.outdated
        if not stays:
            slot.due, slot.due_place = now + pause_after(slot.failures), member.place
        over = self._reload_over(now, failed=member.place) if failed else []
        if not self._was_ready and exit_code == EXIT_BOOT_FAILED:
            return [*over, GiveUp(member.place, "it failed before it was ready")]
        return [*over, *([] if self._was_ready else self._bad_start(member, now))]

    def _bad_start(self, member: Member, now: float) -> list[Action]:
        """A death before the server was up; F4."""
        self._boot_deaths.append(now)
        while self._boot_deaths[0] < now - BOOT_WINDOW:
            self._boot_deaths.popleft()
        if len(self._boot_deaths) >= BOOT_FAILURES:
            why = (
                f"{len(self._boot_deaths)} processes died before the server was ready, "
                f"within {BOOT_WINDOW:g} s"
            )
            return [GiveUp(member.place, why)]
        if self._boot_forks >= max(MAX_BOOT_FORKS, 2 * len(self._slots)):
            return [GiveUp(member.place, f"{self._boot_forks} forks and still not ready")]
        return []

    def _next_replacement(self, now: float) -> list[Action]:
        if not self._reload:
            return self._reload_over(now)
        self._replacing = self._reload.popleft()
        return self._go_on(now)

    def _go_on(self, now: float) -> list[Action]:
        """F3. Bring the reload on, if one runs: replace its slot, or go to the next."""
        if self._replacing is None:
            return []
        slot, newest = self._slots[self._replacing], self.newest(self._replacing)
        if newest is not None and newest.incarnation > slot.stale:
            alone = newest.stage is Stage.SERVING and len(slot.members) == 1
            return self._next_replacement(now) if alone else []
        return self._renew(self._replacing, now)

    def _reload_over(self, now: float, *, failed: int | None = None) -> list[Action]:
        self._reload.clear()
        self._replacing = None
        done = ReloadDone(self._reload_number, failed is None, failed, tuple(self._late))
        actions: list[Action] = [done]
        if self._reload_queued is not None:
            only_task, self._reload_queued = self._reload_queued, None
            actions += self.reload(now, only_task=only_task)[1]
        return actions


def _next_fork(slot: _Slot, now: float) -> float:
    """Return when the next process of a slot may follow: FORKS_A_SECOND. It is counted."""
    followers = slot.followers
    when = max(now, followers[0] + 1.0) if len(followers) == FORKS_A_SECOND else now
    followers.append(when)
    return when
