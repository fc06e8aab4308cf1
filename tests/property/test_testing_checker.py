"""The judge of histories: it says what trying every order says, and its monitor what it says."""

from __future__ import annotations

import itertools
import queue

from hypothesis import given
from hypothesis import strategies as st

from ipckit.testing import History, Operation, Raised, check
from ipckit.testing.histories.values import comes_back, from_json, frozen, same, to_json
from ipckit.testing.judging.checker import answers, beginning
from ipckit.testing.models import Counter, Dict, FifoQueue, Lock, Register

EMPTY = Raised.of(queue.Empty())


@st.composite
def histories(draw, calls, results, most=5):
    """Histories of up to three processes, with any results; some calls are cut."""
    clock = [0, 0, 0]
    made = []
    cut = [False, False, False]
    for _ in range(draw(st.integers(0, most))):
        process = draw(st.integers(0, 2))
        if cut[process]:
            continue
        called = clock[process] + draw(st.integers(1, 4))
        returned = called + draw(st.integers(0, 6))
        clock[process] = returned + 1
        name, arguments = draw(calls)
        cut[process] = draw(st.integers(0, 7)) == 0
        result = None if cut[process] else draw(results)
        made.append(Operation(process, name, arguments, called, returned, result, cut[process]))
    return History(made)


def possible(history, model) -> bool:
    """Try every order of every choice of the cut operations."""
    must = [each for each in history if not each.cut]
    may = [each for each in history if each.cut]
    return any(
        legal(order, model)
        for count in range(len(may) + 1)
        for chosen in itertools.combinations(may, count)
        for order in itertools.permutations([*must, *chosen])
    )


def legal(order, model) -> bool:
    for at, each in enumerate(order):
        if any(later.returned < each.called for later in order[at + 1 :]):
            return False
    states = [model.init()]
    for each in order:
        states = [
            state
            for before in states
            for state, result in answers(model.step, before, each)
            if each.cut or same(result, each.result)
        ]
    return bool(states)


NUMBERS = st.integers(0, 2)
REGISTER = st.one_of(
    st.just(("read", {})),
    NUMBERS.map(lambda value: ("write", {"value": value})),
    st.tuples(NUMBERS, NUMBERS).map(lambda p: ("compare_and_set", {"old": p[0], "new": p[1]})),
)
QUEUE = st.one_of(st.just(("get", {})), NUMBERS.map(lambda value: ("put", {"value": value})))
LOCK = st.tuples(st.sampled_from(["acquire", "release"]), NUMBERS.map(lambda o: {"owner": o}))


@given(histories(REGISTER, st.one_of(st.none(), NUMBERS, st.booleans())))
def test_a_register_is_judged_as_by_trying_every_order(history):
    assert check(history, Register(0)).linearizable == possible(history, Register(0))


@given(histories(QUEUE, st.one_of(st.none(), NUMBERS, st.just(EMPTY))))
def test_a_queue_is_judged_as_by_trying_every_order(history):
    assert check(history, FifoQueue()).linearizable == possible(history, FifoQueue())
    assert check(history, FifoQueue(1)).linearizable == possible(history, FifoQueue(1))


@given(histories(LOCK, st.booleans()))
def test_a_lock_is_judged_as_by_trying_every_order(history):
    assert check(history, Lock()).linearizable == possible(history, Lock())


@given(histories(REGISTER, st.one_of(st.none(), NUMBERS, st.booleans()), most=7))
def test_a_counter_example_is_one_itself(history):
    verdict = check(history, Register(0))
    if verdict.not_linearizable:
        assert not possible(verdict.counter_example, Register(0))
        assert len(verdict.counter_example) <= len(history)
        assert legal(verdict.order, Register(0))
        assert verdict.unplaced is None or verdict.unplaced not in verdict.order


@given(histories(QUEUE, NUMBERS, most=6), st.integers(0, 30))
def test_what_begins_a_possible_history_is_possible(history, moment):
    if check(history, FifoQueue()).linearizable:
        assert check(History(beginning(history, moment)), FifoQueue()).linearizable


@given(st.lists(st.tuples(st.sampled_from("ab"), NUMBERS), max_size=6))
def test_parts_are_judged_one_by_one(writes):
    history = History(
        [
            Operation(0, "set", {"key": key, "value": value}, 2 * at, 2 * at + 1)
            for at, (key, value) in enumerate(writes)
        ]
    )
    assert check(history, Dict()).linearizable
    wrong = Operation(1, "get", {"key": "a"}, 100, 101, "never written")
    verdict = check(History([*history, wrong]), Dict())
    assert verdict.not_linearizable
    assert verdict.part == "a"
    assert {each.arguments["key"] for each in verdict.counter_example} == {"a"}


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(),
    st.binary().map(bytearray), st.just(EMPTY),
)  # fmt: skip
KEYS = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.binary())
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=3),
        st.sets(KEYS, max_size=3),
        st.frozensets(KEYS, max_size=3),
    ),
    max_leaves=8,
)


@given(VALUES)
def test_a_value_comes_back_from_json_as_it_was(value):
    again = from_json(to_json(value))
    assert type(again) is type(value)
    assert same(again, value)
    assert hash(frozen(again)) == hash(frozen(value))
    assert comes_back(value)


def test_a_value_without_a_form_comes_back_as_its_repr():
    value = object()
    assert not comes_back([value])
    assert from_json(to_json(value)) == value
    assert repr(from_json(to_json(value))) == repr(value)


@given(histories(REGISTER, VALUES))
def test_a_saved_history_is_the_same(tmp_path_factory, history):
    path = tmp_path_factory.mktemp("history") / "saved.json"
    history.save(path)
    again = History.load(path)
    assert len(again) == len(history)
    for one, other in zip(again, history, strict=True):
        assert same(one.result, other.result)
        assert {**vars(one), "result": 0} == {**vars(other), "result": 0}


def test_counter_counts():
    assert check(History([Operation(0, "add", {}, 1, 2, 1)]), Counter()).linearizable
    assert check(History([Operation(0, "add", {}, 1, 2, 2)]), Counter()).not_linearizable
