"""A real PHP and we read each other: keys, serialized and raw messages, types, flags, state."""

from __future__ import annotations

import base64
import json
import math
import os
import random
import subprocess

import pytest
from deadlines import LOOK

from ipckit.errors import MessageTooLarge, MisuseError, NotFound, QueueEmpty, QueueFull
from ipckit.keys import ftok
from ipckit.queue import php
from ipckit.queue.php_format import dumps, loads

pytestmark = pytest.mark.needs_php


def run_php(code: str, data: object = None) -> object:
    """Run PHP code with $in from JSON; it returns what it gave to out()."""
    head = (
        "error_reporting(E_ALL); set_error_handler(function($n, $s) { throw new Exception($s); });"
        "$in = json_decode(stream_get_contents(STDIN), true);"
        "function out($v) { echo json_encode($v, JSON_THROW_ON_ERROR); }"
    )
    done = subprocess.run(
        ["php", "-r", head + code],
        input=json.dumps(data),
        capture_output=True,
        text=True,
        timeout=LOOK,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout else None


@pytest.fixture
def key(tmp_path):
    return ftok(tmp_path, "q")


@pytest.fixture
def queue(key):
    queue = php.msg_get_queue(key)
    yield queue
    queue.close()
    if php.msg_queue_exists(key):
        php.msg_remove_queue(php.msg_get_queue(key))


VALUES = [
    None,
    True,
    False,
    0,
    -1,
    2**63 - 1,
    -(2**63),
    0.0,
    -0.0,
    0.1,
    1 / 3,
    1e25,
    -1.5e-300,
    5e-324,
    1.7976931348623157e308,
    100000.0,
    math.inf,
    -math.inf,
    "",
    "plain",
    "任务投递, 中文 🚀",
    'a"b;c:{}\n\0',
    b"\xff\x00\x80raw",
    [],
    [1, 2, 3],
    [[], [[]], ["中", [None, [True]]]],
    {"to": "张三@example.cn", "n": 5, "parts": [1, {"x": 0.5}], "": None},
    {5: "five", -3: "minus", "k": [1], 2**40: {}},
    {1: "from", 2: "one"},
    {"中文键": "值"},
]


def expected(value):
    """What our value is after a round trip: {} is [] there."""
    if isinstance(value, list):
        return [expected(item) for item in value]
    if isinstance(value, dict):
        return {key: expected(item) for key, item in value.items()} or []
    return value


def test_ftok_is_php_s(tmp_path):
    """1,000 random pairs of path and character, in one PHP process."""
    rng = random.Random(os.urandom(8))
    paths = [str(tmp_path), "/", "/dev/null", "/tmp", "/proc/meminfo"]
    for number in range(100):
        path = tmp_path / f"{number}-中-{rng.random()}"
        path.touch()
        paths.append(str(path))
    pairs = [(rng.choice(paths), rng.randint(0, 255)) for _ in range(995)]
    pairs += [(path, 97) for path in paths[:5]]
    assert len(pairs) == 1000
    theirs = run_php("out(array_map(fn($p) => ftok($p[0], chr($p[1])), $in));", pairs)
    assert theirs == [ftok(path, bytes([byte])) for path, byte in pairs]
    assert run_php("out(ftok($in, 5));", "/") == ftok("/", "5")


def test_php_reads_what_we_send(queue, key):
    """Every value serialized: PHP's own serialize() of what it received is what we wrote."""
    code = """
        $q = msg_get_queue($in[0]); $all = [];
        for ($i = 0; $i < $in[1]; $i++) {
            if (!msg_receive($q, 0, $type, 100000, $value, true)) throw new Exception("receive");
            $all[] = [$type, base64_encode(serialize($value)), base64_encode(var_export($value, 1))];
        }
        out($all);
    """
    for kind, value in enumerate(VALUES, 1):
        assert php.msg_send(queue, kind, value) is True
    theirs = run_php(code, [key, len(VALUES)])
    assert [kind for kind, _, _ in theirs] == list(range(1, len(VALUES) + 1))
    for value, (_, coded, shown) in zip(VALUES, theirs, strict=True):
        text = base64.b64decode(coded)
        assert repr(loads(text)) == repr(expected(value)), base64.b64decode(shown)
        if not any(isinstance(part, float) for part in (value, *flat(value))):
            assert text == dumps(value)  # floats: 1.0E+25 and 1e+25 are the same number


def flat(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        yield item
        yield from flat(item)


def test_we_read_what_php_sends(queue, key):
    """Every value serialized by PHP, from its own literals."""
    literals = {
        "null": None,
        "true": True,
        "false": False,
        "-5": -5,
        "PHP_INT_MAX": 2**63 - 1,
        "PHP_INT_MIN": -(2**63),
        "0.1": 0.1,
        "1e25": 1e25,
        "-0.0": -0.0,
        "INF": math.inf,
        "-INF": -math.inf,
        "1.0": 1.0,
        "''": "",
        "'任务投递'": "任务投递",
        '"\\xff\\x00"': b"\xff\x00",
        "[]": [],
        "[1, 'a', [2.5, [null]]]": [1, "a", [2.5, [None]]],
        "['k' => 1, 5 => ['x' => '中']]": {"k": 1, 5: {"x": "中"}},
        "['5' => 'number']": {5: "number"},
        "[1 => 'b', 0 => 'a']": {1: "b", 0: "a"},
    }
    code = "$q = msg_get_queue($in);" + "".join(
        f"msg_send($q, {kind}, {literal}, true, false);" for kind, literal in enumerate(literals, 1)
    )
    run_php(code, key)
    for kind, value in enumerate(literals.values(), 1):
        got = php.msg_receive(queue, kind, 8192, flags=php.MSG_IPC_NOWAIT)
        assert repr(got) == repr((kind, value))


def test_random_values_both_ways(queue, key):
    """50 random nested values through PHP and back, serialized by each side in turn."""
    rng = random.Random(os.urandom(8))

    def value(depth=0):
        kind = rng.randrange(5 if depth > 2 else 7)
        if kind == 5:
            return [value(depth + 1) for _ in range(rng.randrange(1, 4))]
        if kind == 6:
            return {f"k{rng.random()}": value(depth + 1) for _ in range(rng.randrange(1, 4))}
        texts = ["中" * rng.randrange(5), "x\0y", '"']
        number = rng.uniform(-1e9, 1e9)
        return [None, rng.random() < 0.5, rng.randrange(-(2**63), 2**63), number, *texts][kind]

    values = [value() for _ in range(50)]
    for sent in values:
        php.msg_send(queue, 1, sent, blocking=False)
    run_php(
        """
        $q = msg_get_queue($in[0]);
        for ($i = 0; $i < $in[1]; $i++) {
            msg_receive($q, 1, $type, 8192, $value);
            msg_send($q, 2, $value);
        }
        """,
        [key, len(values)],
    )
    got = [php.msg_receive(queue, 2, 8192, flags=php.MSG_IPC_NOWAIT)[1] for _ in values]
    assert repr(got) == repr(values)


def test_raw_messages(queue, key):
    """serialize=False: strings as they are, numbers as PHP prints them."""
    sent = ["中文", b"\x00\xff", 7, -(2**63), True, False, 1.5, 1e10]
    for value in sent:
        php.msg_send(queue, 3, value, serialize=False)
    theirs = run_php(
        """
        $q = msg_get_queue($in[0]); $all = [];
        for ($i = 0; $i < $in[1]; $i++) {
            msg_receive($q, 3, $type, 8192, $value, false); $all[] = base64_encode($value);
        }
        foreach ([7, PHP_INT_MIN, true, false, 1.5, 1e10, "\\x00\\xff"] as $v)
            msg_send($q, 4, $v, false);
        out($all);
        """,
        [key, len(sent)],
    )
    ours = ["中文".encode(), b"\x00\xff", b"7", b"-9223372036854775808", b"1", b"0"]
    ours += [b"1.500000", b"10000000000.000000"]
    assert [base64.b64decode(text) for text in theirs] == ours
    got = [php.msg_receive(queue, 4, 100, unserialize=False)[1] for _ in range(7)]
    assert got == [*ours[2:], b"\x00\xff"]
    with pytest.raises(TypeError):
        php.msg_send(queue, 1, [1], serialize=False)


def test_types_and_flags(queue, key):
    """Types, the lowest type, MSG_EXCEPT, MSG_NOERROR, MSG_IPC_NOWAIT: as PHP does it."""
    order = """
        $q = msg_get_queue($in); $all = [];
        foreach ([[2, 0], [-3, 0], [3, MSG_EXCEPT], [0, MSG_EXCEPT], [0, 0]] as [$want, $flags]) {
            msg_receive($q, $want, $type, 100, $value, false, $flags | MSG_IPC_NOWAIT);
            $all[] = [$type, $value];
        }
        out($all);
    """

    def send_all():
        for kind, body in ((3, "a"), (1, "b"), (2, "c"), (9, "d"), (3, "e")):
            php.msg_send(queue, kind, body, serialize=False)

    send_all()
    theirs = run_php(order, key)
    send_all()
    ours = []
    for want, flags in ((2, 0), (-3, 0), (3, 4), (0, 4), (0, 0)):
        got = php.msg_receive(queue, want, 100, unserialize=False, flags=flags | php.MSG_IPC_NOWAIT)
        ours.append([got[0], got[1].decode()])
    assert ours == theirs == [[2, "c"], [1, "b"], [9, "d"], [3, "a"], [3, "e"]]

    constants = run_php("out([MSG_IPC_NOWAIT, MSG_NOERROR, MSG_EXCEPT]);")
    assert constants == [php.MSG_IPC_NOWAIT, php.MSG_NOERROR, php.MSG_EXCEPT]
    with pytest.raises(QueueEmpty):
        php.msg_receive(queue, 0, 100, flags=php.MSG_IPC_NOWAIT)
    php.msg_send(queue, 1, "abcdef", serialize=False)
    with pytest.raises(MessageTooLarge):
        php.msg_receive(queue, 0, 3, unserialize=False)
    flags = php.MSG_NOERROR
    assert php.msg_receive(queue, 0, 3, unserialize=False, flags=flags) == (1, b"abc")
    for wrong in ({"flags": 8}, {"flags": 1.0}):
        with pytest.raises((ValueError, TypeError)):
            php.msg_receive(queue, 0, 3, **wrong)
    with pytest.raises(ValueError):
        php.msg_receive(queue, 0, 0)
    with pytest.raises(ValueError):
        php.msg_send(queue, 0, "x")
    with pytest.raises(QueueFull):
        for _ in range(20):
            php.msg_send(queue, 1, "x" * 4000, blocking=False)


def test_objects_are_refused(queue, key):
    """A PHP object is ValueError here, and the message is taken, as in PHP."""
    run_php("$q = msg_get_queue($in); $o = new stdClass; $o->a = 1; msg_send($q, 1, $o);", key)
    with pytest.raises(ValueError, match="object"):
        php.msg_receive(queue, 0, 1000)
    run_php("$q = msg_get_queue($in); $a = [1]; $a[1] = &$a[0]; msg_send($q, 1, $a);", key)
    with pytest.raises(ValueError, match="reference"):
        php.msg_receive(queue, 0, 1000)
    assert len(queue) == 0


def test_state_and_settings(queue, key):
    """msg_stat_queue has PHP's keys in PHP's order, and its numbers; msg_set_queue sets them."""
    php.msg_send(queue, 1, "x")
    theirs = run_php("$q = msg_get_queue($in); out(msg_stat_queue($q));", key)
    ours = php.msg_stat_queue(queue)
    assert list(ours.items()) == list(theirs.items())

    assert php.msg_set_queue(queue, ours | {"msg_perm.mode": 0o640, "msg_qbytes": 1000}) is True
    theirs = run_php("$q = msg_get_queue($in); out(msg_stat_queue($q));", key)
    assert (theirs["msg_perm.mode"], theirs["msg_qbytes"]) == (0o640, 1000)
    run_php("$q = msg_get_queue($in); msg_set_queue($q, ['msg_qbytes' => 2000]);", key)
    assert php.msg_stat_queue(queue)["msg_qbytes"] == 2000
    with pytest.raises(ValueError):
        php.msg_set_queue(queue, {"msg_qbyte": 1})


def test_existence_and_removal(queue, key):
    """Each side sees what the other made and removed."""
    assert php.msg_queue_exists(key) is True
    assert run_php("out(msg_queue_exists($in));", key) is True
    assert run_php("out(msg_remove_queue(msg_get_queue($in)));", key) is True
    assert php.msg_queue_exists(key) is False
    assert php.msg_queue_exists(0) is False
    with pytest.raises(NotFound):
        php.SysvQueue.open(key)
    private = php.msg_get_queue(0)
    assert private.key is None and private.id != php.msg_get_queue(key).id
    assert php.msg_remove_queue(private) is True
    private.close()
    with pytest.raises(MisuseError):
        php.msg_send(private, 1, "x")
