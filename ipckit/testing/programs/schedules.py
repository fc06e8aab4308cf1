"""When each fault, pause and turn of a run happens, drawn by a number: so a run can be repeated.

Contract  `Schedule`s are data. `Scheduler.schedule(program, run)` gives the same one for the same
          program, run number and knowledge; knowledge is how many steps, nanoseconds or
          instructions each operation took so far, and a saved schedule needs none.
          A run whose operations' lengths are not known yet has no pauses, only its faults.
          `preempted(program, run)` gives the runs with one preemption, in an order that is drawn.
Pure.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ipckit.testing.programs.acts import ANY, POINT, Act
from ipckit.testing.programs.preemptions import ALL, NEAR, Moment, held_at, moments, turns_at
from ipckit.testing.programs.program import Call, Fault, Program

GUESS_STEPS = 12
GUESS_NS = 30_000
SHORTEST_PAUSE, LONGEST_PAUSE = 20_000, 300_000  # ns, of a call
LONGEST_WAIT = 1_000_000  # ns, between two calls
SHIFT = 3  # steps or instructions by which a place is moved to try another one like it


@dataclass(frozen=True)
class Schedule:
    """The acts by lane and call, and what one engine needs besides.

    `stepped`: the turns, each a process and a number of steps. `ptrace`: the victim, its call and
    the instruction before which it is held; whether it is killed there; whether the others make
    their calls before that (`kill_after_others`).
    """

    acts: Mapping[int, Mapping[int, tuple[Act, ...]]] = field(default_factory=dict)
    turns: tuple[tuple[int, int], ...] = ()
    victim: tuple[int, int, int] | None = None
    kill_victim: bool = False
    kill_after_others: bool = False

    def to_json(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "acts": [
                [lane, call, vars(act)]
                for lane, calls in self.acts.items()
                for call, acts in calls.items()
                for act in acts
            ],
            "turns": self.turns,
            "victim": self.victim,
            "kill_victim": self.kill_victim,
            "kill_after_others": self.kill_after_others,
        }

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> Schedule:
        """Give the schedule back."""
        acts: dict[int, dict[int, tuple[Act, ...]]] = {}
        for lane, call, act in form["acts"]:
            of_call = acts.setdefault(lane, {})
            of_call[call] = (*of_call.get(call, ()), Act(**act))
        victim = form["victim"]
        return cls(
            acts,
            tuple((lane, steps) for lane, steps in form["turns"]),
            None if victim is None else tuple(victim),
            form["kill_victim"],
            form["kill_after_others"],
        )


@dataclass(frozen=True)
class _Lane:
    """What a lane of a smaller program was in the larger one."""

    was: int
    calls: tuple[int, ...]  # for each of its calls, where that was


def _lanes_left(of: Program, program: Program) -> list[_Lane] | None:
    """Find every lane's calls in a lane of `of`, in order; None: there is one that is not there."""
    found: list[_Lane] = []
    was = 0
    for branch in program.branches:
        while was < len(of.branches) and (calls := _calls_left(of.branches[was], branch)) is None:
            was += 1
        if was == len(of.branches):
            return None
        found.append(_Lane(was, calls or ()))
        was += 1
    return found


def _calls_left(of: Sequence[Call], calls: Sequence[Call]) -> tuple[int, ...] | None:
    found: list[int] = []
    for call in calls:
        try:
            found.append(of.index(call, found[-1] + 1 if found else 0))
        except ValueError:
            return None
    return tuple(found)


def _moved(act: Act, draw: random.Random) -> Act:
    """Give an act a little longer or shorter, sooner or later."""
    if act.at == "step":
        act = replace(act, number=max(act.number + draw.randint(-SHIFT, SHIFT), 0))
    return replace(act, ns=int(act.ns * draw.uniform(0.5, 1.5)))


@dataclass
class Scheduler:
    """Plans runs for one engine, and learns from them."""

    engine: str
    steps: dict[str, int] = field(default_factory=dict)
    points: dict[str, int] = field(default_factory=dict)  # kill points
    ns: dict[str, int] = field(default_factory=dict)
    instructions: dict[str, int] = field(default_factory=dict)

    def schedule(self, program: Program, run: int) -> Schedule:
        """Schedule run number `run` of a program."""
        draw = random.Random(f"{program.timing}/{run}")
        if self.engine == "ptrace":
            return self._held(program, draw)
        acts = self._strikes(program, draw)
        learning = not all(
            call.name in self.steps for branch in program.branches for call in branch
        )
        if self.engine == "stepped":
            return Schedule(acts, () if learning else self._turns(program, draw))
        if learning:
            for lane, branch in enumerate(program.branches):
                for call in range(len(branch)):
                    self._add(acts, lane, call, Act("count", "all"))
        elif draw.random() < 0.5:
            moment = draw.choice(self._places(program, after_faults=draw.random() < 0.5))
            self._add(acts, moment.lane, moment.call, held_at(moment))
        else:
            self._disturb(program, acts, draw)
        return Schedule(acts)

    def preempted(self, program: Program, run: int) -> Schedule | None:
        """Schedule run number `run` of those with one preemption. None: each was scheduled.

        With faults, whose moments are drawn, there is no end of them.
        """
        draw = random.Random(f"{program.timing}/preempted/{run}")
        if self.engine == "ptrace":
            return self._held(program, draw)
        acts = self._strikes(program, draw)
        places = self._places(program, after_faults=run % 2 == 1)
        if run >= len(places) and not program.faults:
            return None
        moment = places[run % len(places)]
        if self.engine == "real":
            self._add(acts, moment.lane, moment.call, held_at(moment))
            return Schedule(acts)
        others = [lane for lane in range(len(program.branches)) if lane != moment.lane]
        draw.shuffle(others)
        return Schedule(acts, turns_at(moment, program, self._steps_of, others))

    def _places(self, program: Program, *, after_faults: bool) -> list[Moment]:
        """Give where a process may be held: before calls first, then within them, mixed.

        `after_faults`: before calls only if there are faults, to see what comes after these.
        """
        before, within = moments(program, self._steps_of)
        random.Random(program.timing).shuffle(within)
        return before if program.faults and after_faults else [*before, *within]

    def _steps_of(self, name: str) -> int:
        return self.steps.get(name, GUESS_STEPS)

    def _strikes(
        self, program: Program, draw: random.Random
    ) -> dict[int, dict[int, tuple[Act, ...]]]:
        acts: dict[int, dict[int, tuple[Act, ...]]] = {}
        for fault in program.faults:
            self._add(acts, fault.process, fault.operation, self._strike(program, fault, draw))
        return acts

    def likewise(
        self, schedule: Schedule, of: Program, program: Program, run: int
    ) -> Schedule | None:
        """Schedule `program`, which is `of` without some calls, as the run that `of` failed in.

        None: it cannot be done. Runs after the first vary it a little.
        """
        lanes = _lanes_left(of, program)
        if lanes is None:
            return None
        draw = random.Random(f"{program.timing}/likewise/{run}") if run else None
        if self.engine == "ptrace":
            return self._held_alike(schedule, program, lanes, draw)
        if self.engine == "real":
            return self._disturbed_alike(schedule, program, lanes, draw)
        alike = self._disturbed_alike(schedule, program, lanes, draw)
        if not schedule.turns:
            return alike
        turns = self._turns_alike(schedule, of, program, lanes, draw)
        return Schedule(alike.acts if alike else {}, turns)

    def _turns_alike(
        self,
        schedule: Schedule,
        of: Program,
        program: Program,
        lanes: Sequence[_Lane],
        draw: random.Random | None,
    ) -> tuple[tuple[int, int], ...]:
        """Shorten each lane's turns by what was left out: all of its steps, or fewer, by chance,
        as an operation does not always take as many.
        """
        now = {lane.was: number for number, lane in enumerate(lanes)}
        turns = [[now[lane], steps] for lane, steps in schedule.turns if lane in now]
        for number, lane in enumerate(lanes):
            before, after = of.branches[lane.was], program.branches[number]
            less = max(self._length(before) - self._length(after), 0)
            less = draw.randint(0, less) if draw else less
            for turn in turns:
                if turn[0] == number and turn[1] < ALL:
                    taken = min(less, turn[1])
                    turn[1] -= taken
                    less -= taken
        return tuple((lane, steps) for lane, steps in turns if steps)

    def _disturbed_alike(
        self,
        schedule: Schedule,
        program: Program,
        lanes: Sequence[_Lane],
        draw: random.Random | None,
    ) -> Schedule | None:
        """Let each call that is left have the pauses and faults that it had."""
        struck = {(fault.process, fault.operation) for fault in program.faults}
        acts: dict[int, dict[int, tuple[Act, ...]]] = {}
        for number, lane in enumerate(lanes):
            for call, was in enumerate(lane.calls):
                for act in schedule.acts.get(lane.was, {}).get(was, ()):
                    if act.what in ("kill", "stop") and (number, call) not in struck:
                        continue
                    self._add(acts, number, call, _moved(act, draw) if draw else act)
        return Schedule(acts) if acts else None

    @staticmethod
    def _held_alike(
        schedule: Schedule, program: Program, lanes: Sequence[_Lane], draw: random.Random | None
    ) -> Schedule | None:
        """Hold or kill the same call at the same instruction, or at one near it."""
        if schedule.victim is None or (schedule.kill_victim and not program.faults):
            return None
        was, at_call, at = schedule.victim
        for number, lane in enumerate(lanes):
            if lane.was == was and at_call in lane.calls:
                call = lane.calls.index(at_call)
                at = max(at + draw.randint(-SHIFT, SHIFT), 0) if draw and at < ALL else at
                trace = {number: {call: (Act("trace", "start"),)}}
                return replace(schedule, acts=trace, victim=(number, call, at))
        return None

    def _length(self, calls: Sequence[Call]) -> int:
        return sum(self.steps.get(call.name, GUESS_STEPS) for call in calls)

    def learn(self, steps: Mapping[str, tuple[int, int]], ns: Mapping[str, int]) -> None:
        """Remember how long operations are: (steps, kill points), and nanoseconds."""
        for name, (count, points) in steps.items():
            self.steps[name] = max(count, self.steps.get(name, 0))
            self.points[name] = max(points, self.points.get(name, 0))
        for name, time in ns.items():
            before = self.ns.get(name, time)
            self.ns[name] = (7 * before + time) // 8

    @staticmethod
    def _add(acts: dict[int, dict[int, tuple[Act, ...]]], lane: int, call: int, act: Act) -> None:
        of_lane = acts.setdefault(lane, {})
        of_lane[call] = (*of_lane.get(call, ()), act)

    def _strike(self, program: Program, fault: Fault, draw: random.Random) -> Act:
        """Choose the moment of a fault."""
        name = program.branches[fault.process][fault.operation].name
        if fault.at in ("start", "end"):
            return Act(fault.kind, fault.at)
        if fault.at != "inside":
            most = max(self.points.values(), default=0) or 1  # points that a call passes
            return Act(fault.kind, POINT + fault.at, draw.choice([0, 0, 0, 1, 2]) % most)
        if self.points.get(name) and draw.random() < 0.5:  # its author knows where it hurts
            return Act(fault.kind, ANY, draw.randrange(self.points[name]))
        if self.engine == "stepped" or draw.random() < 0.5:
            return Act(fault.kind, "step", draw.randrange(min(self._steps_of(name), NEAR) + 1))
        longest = 1.5 * self.ns.get(name, GUESS_NS)
        return Act(fault.kind, "timer", ns=int(draw.uniform(200, longest)))

    def _disturb(
        self,
        program: Program,
        acts: dict[int, dict[int, tuple[Act, ...]]],
        draw: random.Random,
    ) -> None:
        """Pause some processes before one of their calls, or before one of its steps."""
        for lane, branch in enumerate(program.branches):
            if draw.random() < 0.25:
                continue
            call = draw.randrange(len(branch))
            steps = min(self._steps_of(branch[call].name), NEAR)
            if draw.random() < 0.2:  # so that some calls come after those of others
                self._add(acts, lane, call, Act("pause", "before", ns=draw.randrange(LONGEST_WAIT)))
                continue
            pause = int(draw.uniform(SHORTEST_PAUSE, LONGEST_PAUSE))
            points = self.points.get(branch[call].name)
            if points and draw.random() < 0.4:  # its author knows where it hurts
                act = Act("pause", ANY, draw.randrange(points), pause)
            else:
                act = Act("pause", "step", draw.randrange(steps + 1), pause)
            self._add(acts, lane, call, act)

    def _turns(self, program: Program, draw: random.Random) -> tuple[tuple[int, int], ...]:
        """Draw a few changes of turn; in the end each goes on alone, in order."""
        lanes = len(program.branches)
        lane = draw.randrange(lanes)
        turns = []
        for _ in range(draw.choice([1, 2, 2, 3, 3, 4, 6])):
            steps = sum(self.steps.get(call.name, GUESS_STEPS) for call in program.branches[lane])
            most = max(1, steps if draw.random() < 0.7 else min(10, steps))
            turns.append((lane, draw.randint(1, most)))
            lane = (lane + draw.randrange(1, lanes)) % lanes
        turns.append((lane, ALL))
        return tuple(turns)

    def _held(self, program: Program, draw: random.Random) -> Schedule:
        """Choose whom to hold or kill between which two machine instructions."""
        kill = [fault for fault in program.faults if fault.kind == "kill"]
        if kill:
            lane, call = kill[0].process, kill[0].operation
        else:
            lane = draw.randrange(len(program.branches))
            call = draw.randrange(len(program.branches[lane]))
        name = program.branches[lane][call].name
        known = self.instructions.get(name)
        at = draw.randrange(known) if known else ALL
        trace = {lane: {call: (Act("trace", "start"),)}}
        killed = bool(kill) and at != ALL
        return Schedule(
            trace,
            victim=(lane, call, at),
            kill_victim=killed,
            kill_after_others=killed and draw.random() < 0.5,
        )
