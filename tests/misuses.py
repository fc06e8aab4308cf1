"""Each public call misused once: the call, the class of the error, and what its text must name.

A row is: where | call | class | value given | limit or rule | next step. The columns after the
class are three different parts of the text. A step "must be" stands before its limit, and the two
are the next step together; any other step says in words of its own what to do.
`test_misuses.py` makes every call. Settings of a server: `test_misuses_settings.py`.

where  "alone": in one process, with the objects of `objects()` there;
       "manager", "worker", "task": a Server that has not started, its worker 0, its task worker.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Misuse(NamedTuple):
    where: str
    call: str
    error: str
    value: str
    limit: str
    step: str


_ROWS = r"""
# -- keys and System V queues
alone | ftok("/none", "a") | NotFound | '/none' | No such file | name a file that exists
alone | ftok("/etc", "ab") | ValueError | 'ab' | one character of one byte | must be
alone | ftok("/etc", "") | ValueError | proj='' | one character of one byte | must be
alone | ftok("/etc", 256) | ValueError | proj=256 | 1..255 | must be
alone | ftok("/etc", None) | TypeError | proj=None | one character (str or bytes) or an int | must be
alone | ftok(7, "a") | TypeError | path=7 | str, bytes or os.PathLike | must be
alone | SysvQueue.create(0) | ValueError | key=0 | private to the kernel | use create() without a key
alone | SysvQueue.create(2**40) | ValueError | key=1099511627776 | -2147483648..2147483647 | must be
alone | SysvQueue.create("key") | TypeError | key='key' | an int | must be
alone | SysvQueue.create(mode=0o1777) | ValueError | mode=0o1777 | 0..0o777 | must be
alone | SysvQueue.create(max_bytes=0) | ValueError | max_bytes=0 | 1..2147483647 | must be
alone | SysvQueue.open(0x71FF0002) | NotFound | key 1912537090 | No such file | create() makes a queue
alone | SysvQueue.open(None) | TypeError | key=None | has no key | open_id() finds it
alone | SysvQueue.open_id(2**31) | ValueError | id=2147483648 | 0..2147483647 | must be
alone | SysvQueue.open_id(2**31 - 1) | NotFound | id 2147483647 | no queue has | see `ipckit ls`
alone | SysvQueue.open_or_create(None) | TypeError | key=None | is always new | use create()
alone | sysv.send("text") | TypeError | not str | bytes, bytearray or memoryview | must be
alone | sysv.send(b"", type=0) | ValueError | type=0 | 1..2**63-1 | must be
alone | sysv.send(bytes(9000)) | MessageTooLarge | 9000 bytes | msgmax is 8192 | send less, or raise kernel.msgmax
alone | [sysv.send_nowait(bytes(8000)) for _ in range(3)] | QueueFull | 8000 bytes do not fit | max_bytes is 16384 | receive some, or wait longer
alone | sysv.receive(timeout=0) | QueueEmpty | type=0 | No message | send one first, or wait longer
alone | sysv.receive(timeout=-1) | ValueError | timeout=-1 | seconds >= 0, or None | must be
alone | sysv.receive(timeout="1") | TypeError | timeout='1' | seconds, or None | must be
alone | sysv.receive(type=0, exclude=True) | ValueError | type=0 | 1 or more | needs the type to leave out
alone | sysv.receive(max_size=-1) | ValueError | max_size=-1 | 0..9223372036854775807 | must be
alone | [sysv.send(b"ab"), sysv.receive(max_size=1)] | MessageTooLarge | max_size=1 | is longer than | receive with a larger max_size, or with truncate=True
alone | sysv.set(max_bytes=0) | ValueError | max_bytes=0 | 1..2147483647 | must be
alone | sysv.set(mode="rw") | TypeError | mode='rw' | an int | must be
alone | sysv.set(uid=-1) | ValueError | uid=-1 | 0..4294967294 | must be
alone | gone_sysv.send(b"") | QueueRemoved | msgsnd | the queue was removed | open() or create() it again
alone | SharedQueue(0) | ValueError | max_messages=0 | 1..8388608 | must be
alone | SharedQueue("8") | TypeError | max_messages='8' | an int | must be
alone | SharedQueue(max_bytes=0) | ValueError | max_bytes=0 | 1..8796093018112 | must be
alone | SharedQueue(max_attempts=256) | ValueError | max_attempts=256 | 1..255 | must be
alone | SharedQueue.create("a/b") | ValueError | name='a/b' | 1..200 of A-Z a-z 0-9 . _ - | must be
alone | SharedQueue.create("misuse", mode=0o1777) | ValueError | mode=0o1777 | 0..0o777 | must be
alone | SharedQueue.open("none") | NotFound | 'none' | there is no shared queue | create() makes one
alone | shared.send("text") | TypeError | not str | bytes, bytearray or memoryview | must be
alone | shared.send(bytes(5000)) | MessageTooLarge | 5000 bytes | max_bytes is 4096 | make the queue larger
alone | shared.send_many(b"one") | TypeError | not one body | an iterable of bodies | send() takes that
alone | [shared.send_nowait(b"") for _ in range(3)] | QueueFull | 0 bytes | 2 messages | receive some, or wait longer
alone | shared.receive(timeout=0) | QueueEmpty | receive | no message | send one first, or wait longer
alone | shared.receive(timeout=-1) | ValueError | timeout=-1 | seconds >= 0, or None | must be
alone | shared.receive_many(0) | ValueError | most=0 | 1..2**63-1 | must be
alone | shared.reserve(-1) | ValueError | size=-1 | 0..2**63-1 | must be
alone | shared.reserve("1") | TypeError | size='1' | an int | must be
alone | shared.dead.retry(7) | NotFound | dead message 7 | was retried or removed before | iterate over queue.dead
alone | shared.remove() | MisuseError | remove | has no name | it ends with its processes
alone | ObjectQueue(0) | ValueError | max_messages=0 | 1..8388608 | must be
alone | ObjectQueue.create("a/b") | ValueError | name='a/b' | 1..200 of A-Z a-z 0-9 . _ - | must be
alone | ObjectQueue.open("none") | NotFound | 'none' | there is no shared queue | create() makes one
alone | jobs.put([memoryview(b"")]) | TypeError | obj[0] | a memoryview cannot be pickled | send plain data
alone | jobs.put(bytes(5000)) | MessageTooLarge | a body of 5018 bytes | max_bytes is 4096 | make the queue larger
alone | [jobs.put_nowait(1) for _ in range(3)] | QueueFull | bytes | 2 messages | receive some, or wait longer
alone | jobs.get(timeout=-1) | ValueError | timeout=-1 | seconds >= 0, or None | must be
alone | jobs.task_done() | ValueError | task_done() | no object of get() is unfinished | call it once for each get()
alone | [jobs.put(1), jobs.join(0)] | WaitTimeout | join | not all objects were finished | each get() needs a task_done()
alone | jobs.remove() | MisuseError | remove | has no name | it ends with its processes
alone | pickle.dumps(jobs) | MisuseError | SharedQueue objects | through inheritance | give the queue a name
alone | lease.give_back(-1) | ValueError | delay=-1 | 0..3153600000 seconds | must be
alone | lease.give_back("1") | TypeError | delay='1' | seconds | must be
alone | [lease.acknowledge(), lease.acknowledge()] | MisuseError | the message | is over | get another one
alone | pickle.dumps(shared) | MisuseError | SharedQueue objects | through inheritance | give the queue a name
alone | pickle.dumps(lease) | TypeError | a lease or a reservation | belongs to this thread | share the queue
alone | pickle.dumps(closed_sysv) | MisuseError | this queue object | is closed | open() the queue again
alone | pickle.loads(pickle.dumps(gone_sysv)) | NotFound | id | no queue has | see `ipckit ls`
alone | pickle.dumps(MemoryQueue()) | TypeError | 'MemoryQueue' | in the memory of one process | share a SysvQueue instead
alone | closed_sysv.send(b"") | MisuseError | this queue object | is closed | open() the queue again
# -- PHP's functions
alone | msg_get_queue("key") | TypeError | key='key' | an int | must be
alone | msg_get_queue(1, 0o1777) | ValueError | mode=0o1777 | 0..0o777 | must be
alone | msg_send(7, 1, "x") | TypeError | queue=7 | a SysvQueue | must be
alone | msg_stat_queue(7) | TypeError | queue=7 | must be a SysvQueue | msg_get_queue(key) returns it
alone | msg_remove_queue(7) | TypeError | queue=7 | must be a SysvQueue | msg_get_queue(key) returns it
alone | msg_send(sysv, 0, "x") | ValueError | type=0 | 1..2**63-1 | must be
alone | msg_send(sysv, 1, object()) | ValueError | type object | PHP's text has none | use None, bool, int, float, str
alone | msg_send(sysv, 1, [2**64]) | ValueError | 65 bits | PHP's have 64 | send it as a str
alone | msg_send(sysv, 1, {1.5: 1}) | ValueError | key 1.5 | an int or a str | must be
alone | msg_send(sysv, 1, [1], False) | TypeError | type list | bytes, str or a number | leave serialize=True
alone | msg_receive(7, 0, 9) | TypeError | queue=7 | must be a SysvQueue | msg_get_queue(key) returns it
alone | msg_receive(sysv, 0, 0) | ValueError | max_message_size=0 | 1..9223372036854775807 | must be
alone | msg_receive(sysv, 0, "9") | TypeError | max_message_size='9' | an int | must be
alone | msg_receive(sysv, "a", 9) | TypeError | desired_message_type='a' | an int | must be
alone | msg_receive(sysv, 0, 9, flags=64) | ValueError | flags=64 | MSG_IPC_NOWAIT, MSG_NOERROR and MSG_EXCEPT | must be
alone | msg_set_queue(sysv, {"qbytes": 1}) | ValueError | 'qbytes' | msg_perm.uid, msg_qbytes | must be
alone | msg_set_queue(sysv, 7) | TypeError | data=7 | a dict, such as {'msg_qbytes' | must be
alone | msg_queue_exists("key") | TypeError | key='key' | an int | must be
# -- the other queues
alone | PosixQueue.create("name") | ValueError | name='name' | '/' and 1..254 bytes | must be
alone | PosixQueue.create(7) | TypeError | name=7 | a str | must be
alone | PosixQueue.create(posix.name) | AlreadyExists | /ipckit-misuse | there is a queue | open() takes it
alone | PosixQueue.create("/ipckit-none", max_messages=0) | ValueError | max_messages=0 | 1..2147483647 | must be
alone | PosixQueue.create("/ipckit-none", max_messages=10**6) | ValueError | max_messages=1000000 | the limits are | more needs CAP_SYS_RESOURCE
alone | PosixQueue.open("/ipckit-none") | NotFound | /ipckit-none | there is no queue | create() makes one
alone | posix.send(b"", priority=40000) | ValueError | priority=40000 | 0..32767 | must be
alone | posix.send(bytes(9000)) | MessageTooLarge | 9000 bytes | is 8192 | send less, or create the queue with a larger one
alone | [posix.send_nowait(b"") for _ in range(4)] | QueueFull | 0 bytes | 3 messages, which are all | receive some, or wait longer
alone | posix.receive_nowait() | QueueEmpty | /ipckit-misuse | no message | send one first, or wait longer
alone | MemoryQueue(max_bytes=0) | ValueError | max_bytes=0 | 1..2147483647 | must be
alone | MemoryQueue().set(max_bytes=0) | ValueError | max_bytes=0 | 1..2147483647 | must be
alone | MemoryQueue().send(1) | TypeError | not int | bytes, bytearray or memoryview | must be
alone | MemoryQueue().send(b"", type="a") | TypeError | type='a' | an int | must be
alone | MemoryQueue(max_bytes=1).send(b"ab") | MessageTooLarge | 2 bytes | max_bytes is 1 | send less
alone | MemoryQueue().receive_nowait() | QueueEmpty | type=0 | no message | send one first, or wait longer
# -- tables
alone | MemoryTable(0) | ValueError | size=0 | 1..2**31-1 rows | must be
alone | Table(0) | ValueError | size=0 | 1..2**31-1 rows | must be
alone | Table("8") | TypeError | not str | an int, the number of rows | must be
alone | Table(8, columns={}) | ValueError | 0 columns | 1..256 | column() adds one
alone | Table(8, columns={"n": 7}) | TypeError | not int 7 | Int(), Float(), Str(size) or Bytes(size) | must be
alone | Table(8, columns=[Int()]) | TypeError | not list | a mapping such as | must be
alone | Table(8, columns={"n": Int()}, key_size=0) | ValueError | key_size=0 | 1..255 bytes | must be
alone | Table(8, columns={"n": Int()}, name="a/b") | ValueError | name='a/b' | 1..200 of A-Z a-z 0-9 | must be
alone | Table(8, columns={"n": Int()}, name="n", mode=0o7777) | ValueError | mode=0o7777 | 0..0o777 | must be
alone | Int(3) | ValueError | size=3 | 1, 2, 4 or 8 bytes | must be
alone | Int("8") | TypeError | not str | 1, 2, 4 or 8 | must be
alone | Str(0) | ValueError | size=0 | 1..1048576 bytes | must be
alone | Bytes(2**21) | ValueError | size=2097152 | 1..1048576 bytes | must be
alone | Table(8).column("n", 9) | ValueError | type=9 | TYPE_INT (1) | must be
alone | Table(8).column("n", Table.TYPE_STRING) | ValueError | size=0 | 1..1048576 bytes | must be
alone | Table(8).column("n", Float(), 4) | ValueError | size=4 | says its size itself | leave it out
alone | Table(8).column("n", Int()).column("n", Int()) | ValueError | 'n' | is there already | take another name
alone | Table(8).create() | ValueError | 0 columns | 1..256 | column() adds one
alone | Table(8).get("a") | MisuseError | this table | is not made yet | call create() first
alone | table.create() | MisuseError | create() | before the table is made | make a new Table
alone | table.column("late", Int()) | MisuseError | column() | before the table is made | make a new Table
alone | Table.open("ipckit-none") | NotFound | 'ipckit-none' | there is no table | create() makes one
alone | table.set("k" * 65, {}) | ValueError | 65 bytes | key_size=64 | shorten it or make the table with a larger key_size
alone | table.get(7) | TypeError | not int | str or bytes | must be
alone | table.get("a", "visit") | SchemaError | 'visit' | the columns are | did you mean 'visits'
alone | table.set("a", {"visit": 1}) | SchemaError | 'visit' | the columns are | did you mean 'visits'
alone | table.set("a", {"visits": "1"}) | SchemaError | not str | Int(8) | takes an int
alone | table.set("a", {"small": 128}) | OverflowError | 128 | -128..127 | make the column an Int of more bytes
alone | table.set("a", {"visits": 2**63}) | OverflowError | 9223372036854775808 | ..9223372036854775807 | keep it as a Str
alone | table.set("a", {"name": "12345"}) | ValueError | 5 bytes | too long for Str(4) | make the column larger
alone | table.set("a", 7) | TypeError | not int | a mapping of columns | must be
alone | table.add("a", {"visits": None}) | SchemaError | not NoneType | Int(8) | takes an int
alone | table.incr("a", "name") | SchemaError | Str(4) | only Int and Float can be counted | use set()
alone | table.incr("a", "visits", 2**63) | OverflowError | by=9223372036854775808 | -9223372036854775808..9223372036854775807 | must be
alone | table.decr("a", "small", 129) | OverflowError | adding -129 | -128..127 | make the column an Int of more bytes
alone | table.compare_and_set("a", "visits", 0, "1") | SchemaError | not str | Int(8) | takes an int
alone | table.lock("a", timeout=-1) | ValueError | timeout=-1 | seconds >= 0, or None | must be
alone | locked_table.set("a", {}) | DeadlockError | 'a' | this thread holds the lock | write to the row it was given
alone | [table.set(str(n), {}) for n in range(9)] | TableFull | '8' was not added | all 8 rows | delete rows, or make the table with a larger size
alone | pickle.dumps(table) | MisuseError | Table objects | only be shared | give the table a name
alone | pickle.dumps(closed_table) | MisuseError | this table object | is closed | make or open() the table again
alone | pickle.dumps(MemoryTable(8, columns={"n": Int()})) | TypeError | 'MemoryTable' | in the memory of one process | share a Table instead
alone | closed_table.get("a") | MisuseError | this table object | is closed | make or open() the table again
# -- atomic numbers, locks, channels
alone | Atomic("1") | TypeError | value='1' | an int | must be
alone | Atomic(2**63) | OverflowError | value=9223372036854775808 | -2**63..2**63-1 | must be
alone | Atomic().wait(0, timeout=-1) | ValueError | timeout=-1 | seconds >= 0, or None | must be
alone | Atomic(10**5000) | OverflowError | value has thousands of digits | -2**63..2**63-1 | must be
alone | Atomic().set(-2**63 - 1) | OverflowError | value=-9223372036854775809 | -2**63..2**63-1 | must be
alone | Atomic(2**63 - 1).add(1) | OverflowError | add(1) | would not be -2**63..2**63-1 | set() one to go on from
alone | Atomic().add(2**64) | OverflowError | n=18446744073709551616 | -2**63..2**63-1 | must be
alone | Atomic().wait(0, timeout="1") | TypeError | timeout='1' | seconds, or None | must be
alone | Atomic().wake("1") | TypeError | n='1' | an int | must be
alone | Lock().acquire(timeout="1") | TypeError | timeout='1' | seconds, or None | must be
alone | Atomic().wake(-1) | ValueError | n=-1 | at least 1 | must be
alone | pickle.dumps(Atomic()) | MisuseError | Atomic objects | only be shared | make it before the fork
alone | Lock().release() | MisuseError | this thread | does not hold the lock | acquire() it first
alone | Lock().acquire(timeout=-1) | ValueError | timeout=-1 | seconds >= 0, or None | must be
alone | [lock.acquire(), lock.acquire()] | DeadlockError | this thread | holds the lock already | release() it first
alone | pickle.dumps(Lock()) | MisuseError | Lock objects | only be shared | make it before the fork
alone | Channel() | TypeError | sock=None | a connected AF_UNIX stream socket | Channel.pair() makes both ends
alone | Channel(7) | TypeError | sock=7 | a connected AF_UNIX stream socket | Channel.pair() makes both ends
alone | Channel.pair(max_frame=-1) | ValueError | max_frame=-1 | 0..2147483647 bytes | must be
alone | Channel.pair(max_frame="9") | TypeError | max_frame='9' | 0..2147483647 bytes | must be
alone | ours.send("text") | TypeError | not str | must be bytes | encode it first
alone | ours.send(bytes(101)) | MessageTooLarge | 101 bytes | max_frame is 100 | cut it up, or make the pair with a larger max_frame
alone | ours.send(b"", kind=65536) | ValueError | kind=65536 | 0..65535 | must be
alone | ours.send(b"", kind="a") | TypeError | kind='a' | 0..65535 | must be
alone | ours.send(b"", ident=-1) | ValueError | ident=-1 | 0..18446744073709551615 | must be
alone | ours.send(b"", fds=[0] * 254) | ValueError | 254 descriptors | at most 253 | send more frames
alone | ours.send(b"", fds=["a"]) | TypeError | fds=['a'] | a sequence of open descriptors | must be
alone | ours.send(b"", fds=7) | TypeError | fds=7 | a sequence of open descriptors | must be
alone | ours.send(b"", fds=[99999]) | SystemCallError | fds=[99999] | Bad file descriptor | must be open in this process
alone | ours.send(b"", timeout="1") | TypeError | timeout='1' | seconds, or None | must be
alone | [ours.send_nowait(bytes(100)) for _ in range(10**5)] | WaitTimeout | 0 s | made no room | send it again, or close()
alone | ours.receive(timeout=-1) | ValueError | timeout=-1 | seconds >= 0, or None | must be
alone | ours.receive(timeout="1") | TypeError | timeout='1' | seconds, or None | must be
alone | ours.receive(timeout=0) | WaitTimeout | 0 s | no whole frame came | receive again
alone | ours.receive(into=b"fixed") | TypeError | into=b'fixed' | a writable buffer | must be
alone | [theirs.send(b"long"), ours.receive(into=bytearray(3))] | MessageTooLarge | 4 bytes | `into` has 3 | receive again with a larger buffer
alone | pickle.dumps(ours) | MisuseError | Channel objects | only be shared | use it after a fork
alone | pickle.dumps(closed_end) | MisuseError | closed | cannot go to another process | make a new pair
alone | closed_end.send(b"") | MisuseError | send: | this end of the channel is closed | make a new pair
alone | widow.receive(timeout=5) | PeerGone | receive: | the other end was closed | close this one too
alone | widow.send(b"") | PeerGone | send: | the other end was closed | close this too
# -- framing and clients
alone | Framing(open_eof_split=1) | SettingsError | open_eof_split=1 | True or False | must be
alone | Framing(open_eof_split=True, open_length_check=True) | SettingsError | open_length_check=True | cut one way | choose the length field or the EOF
alone | Framing(package_length_func=len, open_eof_check=True) | SettingsError | package_length_func | cut one way | choose one of them
alone | Framing(package_length_func=7) | SettingsError | package_length_func=7 | None or a function of (data, start) | must be
alone | Framing(package_eof="123456789") | SettingsError | '123456789' | 1..8 bytes | must be
alone | Framing(package_length_type="x") | SettingsError | 'x' | one of c C s S n v | must be
alone | Framing(package_max_length=0) | SettingsError | package_max_length=0 | 1..2147483647 bytes | must be
alone | Framing(open_length_check=True, package_max_length=2) | SettingsError | package_max_length=2 | 4 or more | must be
alone | Framing(open_length_check=True, package_body_offset=-1) | SettingsError | package_body_offset=-1 | 0..2097152 bytes | must be
alone | Framing.of({"open_eof": True}) | SettingsError | 'open_eof' | is no framing setting | did you mean
alone | Framing().framer() | MisuseError | framer() | cuts nothing | set one of open_eof_check
alone | Client(open_eof_splitt=True) | SettingsError | 'open_eof_splitt' | is no framing setting | did you mean
alone | Client("TCP4") | SettingsError | 'TCP4' | one of TCP, UDP | must be
alone | Client(SockType.UDP, open_eof_split=True) | SettingsError | framing with UDP | a packet already | leave it out
alone | Client(timeout=-1) | SettingsError | timeout=-1 | seconds >= 0, or None | must be
alone | Client().set(package_eof=7) | SettingsError | package_eof=7 | 1..8 bytes | must be
alone | Client().connect(7, 80) | TypeError | host=7 | a str, a name, an address | must be
alone | Client().connect("127.0.0.1", 65536) | ValueError | port=65536 | 1..65535 | must be
alone | Client().connect("127.0.0.1", "80") | ValueError | port='80' | 1..65535 | must be
alone | Client().connect("127.0.0.1", 80, timeout="1") | TypeError | timeout='1' | seconds, or None | must be
alone | Client().connect("127.0.0.1", 1, 60) | PeerGone | 127.0.0.1:1 | nobody listens | is the server up?
alone | Client(SockType.UNIX_STREAM).connect("/none.sock") | NotFound | /none.sock | No such file | is the server up
alone | client.send("text") | TypeError | not str | must be bytes | encode it first
alone | client.recv(0) | ValueError | size=0 | 1 or more bytes | must be
alone | client.recv() | WaitTimeout | in 0 s | nothing came | with a longer timeout
alone | client.connect("127.0.0.1", 1) | MisuseError | 127.0.0.1: | connected to | close() it first
alone | Client().send(b"x") | MisuseError | send: | not connected | connect(host, port) first
alone | pickle.dumps(client) | TypeError | 127.0.0.1: | belongs to this process | connect() in the other one
alone | Client().recv() | MisuseError | recv: | not connected | connect(host, port) first
alone | TaskClient(0) | ValueError | key=0 | private to the server | give it a key by ftok()
alone | TaskClient("key") | TypeError | key='key' | an int | must be
alone | TaskClient(0x71FF0002) | NotFound | message_queue_key 1912537090 | no server has | is it up, with task_ipc_mode 2 or 3?
alone | tasks.post(1, dst="all") | ValueError | dst='all' | a task worker, 0 or more, or -1 | must be
alone | tasks.post(1, timeout=-1) | ValueError | timeout=-1 | seconds >= 0, or None | must be
alone | tasks.post(object()) | ValueError | type object | PHP's text has none | use None, bool, int
# -- the harness
alone | op(key=3) | TypeError | key=3 | a hypothesis strategy | e.g. strategies.integers()
alone | Kill(at=3) | TypeError | at=3 | "start", "inside", "end" | must be
alone | Stop(at="") | ValueError | at='' | "start", "inside", "end" | must be
alone | kill_point(3) | TypeError | name=3 | a str | must be
alone | invariant(when="always") | ValueError | when='always' | "quiet" | must be
alone | History([1]) | TypeError | has 1 | Operation objects | e.g. Operation(
alone | Operation(0, "get", {}, called=2, returned=1) | ValueError | returned=1 | called=2 or later | must be
alone | check([1], None) | TypeError | history=[1] | a History | History(operations) makes one
alone | check(History(), None) | TypeError | model=None | init() and step(state, operation) | as those of ipckit.testing.models
alone | machine(processes=1) | MachineError | processes=1 | 2..16 | must be
alone | machine(processes="3") | MachineError | processes='3' | 2..16 | must be
alone | machine(operations=0) | MachineError | operations=0 | 1..256 | must be
alone | machine(before=-1) | MachineError | before=-1 | 0..256 | must be
alone | machine(after=-1) | MachineError | after=-1 | 0..256 | must be
alone | machine(examples=0) | MachineError | examples=0 | 1 or more | must be
alone | machine(runs=0) | MachineError | runs=0 | 1 or more | must be
alone | machine(seconds=-1) | MachineError | seconds=-1 | 0 or more | must be
alone | machine(deadline="5") | MachineError | deadline='5' | 0.001 or more | must be
alone | machine(judge=-1) | MachineError | judge=-1 | 0.001 or more | must be
alone | machine(overlap=2) | MachineError | overlap=2 | 0..1 | must be
alone | machine(engine="real time") | MachineError | 'real time' | one of real, stepped, ptrace | must be
alone | machine(libraries="libc") | MachineError | 'libc' | a list or a tuple | must be
alone | machine(faults=Kill()) | MachineError | Kill(at=None) | a list or a tuple | must be
alone | machine(faults=["kill"]) | MachineError | 'kill' | Kill() and Stop() objects | must be
alone | machine(engine="stepped", faults=[Stop()]) | MachineError | 'stepped' | holds processes anyway | Stop() is for 'real'
alone | machine(partition="key") | MachineError | 'key' | its arguments: [] | by which partition splits
alone | machine(add=op()(lambda self: 1)) | MachineError | Machine.add | has no model | add @add.model
alone | machine(get=None) | MachineError | Machine has no operation | one or more | mark methods with @op(...)
# -- the server, before start()
manager | Server(7) | SettingsError | host=7 | a str, an address | must be
manager | Server("127.0.0.1", 65536) | SettingsError | port=65536 | 0..65535 | must be
manager | Server("127.0.0.1", sock_type="TCP") | SettingsError | sock_type='TCP' | one of SockType's | must be
manager | Server("no such host") | NotFound | no such host:0 | has no address | choose another host
manager | Server("/none/sock", sock_type=SockType.UNIX_STREAM) | NotFound | /none/sock | No such file | choose one that we may have
manager | Server("127.0.0.1", worker_num="2") | SettingsError | worker_num='2' | an int of 1..2047 | must be
manager | server.set(worker_nun=1) | SettingsError | 'worker_nun' | there is no setting | did you mean 'worker_num'
manager | server.set(worker_num=2000, task_worker_num=48) | SettingsError | task_worker_num=48 | at most 2047 | take fewer
manager | server.on("recieve", print) | SettingsError | 'recieve' | there is no event | did you mean 'receive'
manager | server.on("receive", 7) | SettingsError | not 7 | callable | must be
manager | server.on(7, print) | SettingsError | event=7 | a str | must be
manager | server.on("start", on_start) | SettingsError | 'start' | has no event loop | write it with `def`
manager | server.listen("127.0.0.1", 65536) | SettingsError | port=65536 | 0..65535 | must be
manager | server.listen("127.0.0.1", busy) | SystemCallError | 127.0.0.1: | Address already in use | stop who has it, or choose another
manager | server.ports[0].set(worker_num=1) | SettingsError | 'worker_num' | a port has no setting | belong to server.set()
manager | server.ports[0].on("task", print) | SettingsError | 'task' | the whole server's | use server.on()
manager | server.add_process(7) | TypeError | not 7 | callable | must be
manager | server.start() | SettingsError | a stream port | a `receive` callback | server.on('receive', f)
manager | server.task(1) | MisuseError | task() | does not run | start() it first
manager | server.finish(1) | MisuseError | finish() | inside the `task` callback | call it there, in a task worker
manager | server.tick(0, print) | ValueError | seconds=0 | 0.001..10**9 | must be
manager | server.after(1, print) | MisuseError | after() | does not run | start() it first
manager | server.send(1, b"x") | MisuseError | send() | does not run | start() it first
manager | server.stop(9999) | ValueError | worker_id=9999 | 0.. | must be
manager | server.stats() | MisuseError | stats() | does not run | start() it first
manager | server.dead_letters | MisuseError | dead_letters | does not run | start() it first
# -- the server's processes
worker | server.task(1, 5) | ValueError | dst=5 | 0..0 | must be
worker | server.task({"f": [print, lambda: 1]}) | TypeError | data['f'][1] | cannot be pickled | send plain data
worker | server.task(1, callback=7) | TypeError | not 7 | callable | must be
worker | server.task(1, delay=-1) | ValueError | delay=-1 | 0..10**9 seconds | must be
worker | server.task(1, dedup_key=7) | TypeError | not 7 | a str or None | must be
worker | server.task(1, ordering_key=7) | TypeError | not 7 | a str or None | must be
worker | run(server.task_later(1, 5)) | ValueError | dst=5 | 0..0 | must be
worker | run(server.task_later(1, callback=7)) | TypeError | not 7 | callable | must be
worker | run(server.task_async(1, timeout=-1)) | ValueError | timeout=-1 | seconds >= 0, or None | must be
worker | run(server.task_async(1, dst="0")) | ValueError | dst='0' | 0..0 | must be
worker | server.taskwait(1, timeout=-1) | ValueError | timeout=-1 | seconds >= 0, or None | must be
worker | server.taskwait(1, timeout="1") | TypeError | timeout='1' | seconds, or None | must be
worker | server.task_wait_multi([1], timeout=-1) | ValueError | timeout=-1 | seconds >= 0, or None | must be
worker | server.task_wait_multi(7) | TypeError | tasks=7 | a sequence of data | must be
worker | server.finish(1) | MisuseError | finish() | inside the `task` callback | call it there, in a task worker
worker | server.send_message("m", 9) | ValueError | dst_worker_id=9 | 0..1 | must be
worker | server.send_message("m", 0) | MisuseError | worker 0 | is this process | call the function itself
worker | server.send_message(lambda: 1, 1) | TypeError | message | cannot be pickled | send plain data
worker | server.tick(0, print) | ValueError | seconds=0 | 0.001..10**9 | must be
worker | server.after(-1, print) | ValueError | seconds=-1 | 0..10**9 | must be
worker | server.after("1", print) | ValueError | seconds='1' | 0..10**9 | must be
worker | server.after(1, 7) | TypeError | not 7 | callable | must be
worker | server.clear_timer("1") | TypeError | timer_id='1' | an int | must be
worker | server.send(1, "text") | TypeError | not str | must be bytes | encode it first
worker | server.send(1, b"") | ValueError | data=b'' | 1 byte or more | must be
worker | server.send("1", b"x") | TypeError | fd='1' | an int | must be
worker | server.close("1") | TypeError | fd='1' | an int | must be
worker | server.exists("1") | TypeError | fd='1' | an int | must be
worker | server.pause("1") | TypeError | fd='1' | an int | must be
worker | server.resume("1") | TypeError | fd='1' | an int | must be
worker | server.protect("1") | TypeError | fd='1' | an int | must be
worker | server.get_client_info("1") | TypeError | fd='1' | an int | must be
worker | server.bind("1", 1) | TypeError | fd='1' | an int | must be
worker | server.bind(1, "uid") | ValueError | uid='uid' | -2**62..2**62-1 | must be
worker | server.sendto("localhost", 9, b"x") | ValueError | host='localhost' | an IP address | must be
worker | server.sendto("127.0.0.1", 0, b"x") | ValueError | port=0 | 1..65535 | must be
worker | server.sendto("127.0.0.1", 9, "x") | TypeError | not str | must be bytes | encode it first
worker | server.sendto("127.0.0.1", 9, b"x") | ValueError | host='127.0.0.1' | sock_type=UDP | server.listen() makes one
worker | server.sendfile(1, 7) | TypeError | path=7 | a str or os.PathLike | must be
worker | server.sendfile(1, "/none") | NotFound | /none | No such file | name a file that this user may read
worker | server.sendfile(1, "/etc") | ValueError | path='/etc' | a plain file | must be
worker | server.sendfile(1, "fifo") | ValueError | /fifo' | a plain file | must be
worker | server.sendfile(1, "/etc/passwd", -1) | ValueError | offset=-1 | 0 or more | must be
worker | server.get_client_list(0, -1) | ValueError | count=-1 | 1 or more | must be
worker | server.get_client_list("0") | ValueError | start='0' | 0 or more | must be
worker | server.stop(9) | ValueError | worker_id=9 | 0..1 | must be
worker | server.set(worker_num=2) | MisuseError | set() | runs already | call it before start()
worker | server.on("task", print) | MisuseError | on() | runs already | call it before start()
worker | server.listen("127.0.0.1") | MisuseError | listen() | runs already | call it before start()
worker | server.add_process(print) | MisuseError | add_process() | runs already | call it before start()
worker | server.start() | MisuseError | start() | runs already | call start() once
worker | server.dead_letters.retry(7) | NotFound | dead letter 7 | there is no | `ipckit dead ls` shows
worker | server.dead_letters[7] | NotFound | dead letter 7 | there is no | `ipckit dead ls` shows
task | server.task(1) | MisuseError | task() | this is a task worker | belongs into a worker
task | server.taskwait(1) | MisuseError | taskwait() | this is a task worker | belongs into a worker
task | server.asend(1, b"x").send(None) | MisuseError | asend() | this is a task worker | belongs into a worker
"""

MISUSES = [
    Misuse(*(cell.strip() for cell in line.split(" | ")))
    for line in _ROWS.splitlines()
    if line and not line.startswith("#")
]


def stand_apart(text, parts):
    """Whether every part stands in the text, none of them inside another's place."""
    if not parts:
        return True
    first, *others = parts
    return any(
        stand_apart(f"{text[: found.start()]}\0{text[found.end() :]}", others)
        for found in re.finditer(re.escape(first), text)
    )
