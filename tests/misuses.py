"""Each public call misused once: the call, the class of the error, and what its text must name.

A row is: where | call | class | value given | limit or rule | next step. The columns after the
class are parts of the text; the last one may stand inside the limit, as "must be 1..255" tells both
what is allowed and what to do. `test_misuses.py` makes every call.

where  "alone": in one process, with the objects of `objects()` there;
       "manager", "worker", "task": a Server that has not started, its worker 0, its task worker.
"""

from __future__ import annotations

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
alone | ftok("/none", "a")                     | NotFound        | '/none'         | No such file          | stat
alone | ftok("/etc", "ab")                     | ValueError      | 'ab'            | of one byte           | must be one character
alone | ftok("/etc", 256)                      | ValueError      | proj=256        | 1..255                | must be
alone | ftok(7, "a")                           | TypeError       | path=7          | str, bytes or os.PathLike | must be
alone | SysvQueue.create(0)                    | ValueError      | key=0           | private to the kernel | create() without a key
alone | SysvQueue.create(2**40)                | ValueError      | key=1099511627776 | -2147483648..2147483647 | must be
alone | SysvQueue.create(mode=0o1777)          | ValueError      | mode=0o1777     | 0..0o777              | e.g. 0o600
alone | SysvQueue.open(0x71FF0002)             | NotFound        | key 1912537090  | No such file          | create() makes a queue
alone | SysvQueue.open(None)                   | TypeError       | key=None        | has no key            | open_id() finds it
alone | sysv.send("text")                      | TypeError       | not str         | bytes, bytearray or memoryview | must be
alone | sysv.send(b"", type=0)                 | ValueError      | type=0          | 1..2**63-1            | must be
alone | sysv.send(bytes(9000))                 | MessageTooLarge | 9000 bytes      | 8192                  | send less, or raise kernel.msgmax
alone | sysv.receive(timeout=-1)               | ValueError      | timeout=-1      | seconds >= 0          | or None for no limit
alone | sysv.receive(timeout="1")              | TypeError       | timeout='1'     | must be seconds       | or None for no limit
alone | sysv.receive(type=0, exclude=True)     | ValueError      | type=0          | 1 or more             | needs the type to leave out
alone | sysv.receive(max_size=-1)              | ValueError      | max_size=-1     | 0..                   | must be
alone | closed_sysv.send(b"")                  | MisuseError     | this queue object | is closed           | open() the queue again
# -- PHP's functions
alone | msg_get_queue("key")                   | TypeError       | key='key'       | an int                | must be
alone | msg_send(7, 1, "x")                    | TypeError       | queue=7         | must be a SysvQueue   | msg_get_queue(key) returns it
alone | msg_stat_queue(7)                      | TypeError       | queue=7         | must be a SysvQueue   | msg_get_queue(key) returns it
alone | msg_remove_queue(7)                    | TypeError       | queue=7         | must be a SysvQueue   | msg_get_queue(key) returns it
alone | msg_send(sysv, 0, "x")                 | ValueError      | type=0          | 1..2**63-1            | must be
alone | msg_send(sysv, 1, object())            | ValueError      | no object       | bool, int, float, str | use None
alone | msg_send(sysv, 1, [1], False)          | TypeError       | not list        | bytes, str or a number | without serialize
alone | msg_receive(sysv, 0, 0)                | ValueError      | max_message_size=0 | 1 or more bytes    | must be
alone | msg_receive(sysv, 0, 9, flags=64)      | ValueError      | flags=64        | MSG_IPC_NOWAIT        | exist
alone | msg_set_queue(sysv, {"qbytes": 1})     | ValueError      | ['qbytes']      | 'msg_qbytes'          | can be set
alone | msg_queue_exists("key")                | TypeError       | key='key'       | an int                | must be
# -- the other queues
alone | PosixQueue.create("name")              | ValueError      | name='name'     | 1..254 bytes          | must be '/'
alone | PosixQueue.create(posix.name)          | AlreadyExists   | /ipckit-misuse  | mq_open               | open() takes it
alone | PosixQueue.open("/ipckit-none")        | NotFound        | /ipckit-none    | mq_open               | create() makes a queue
alone | posix.send(b"", priority=40000)        | ValueError      | priority=40000  | 0..32767              | must be
alone | posix.send(bytes(9000))                | MessageTooLarge | 9000 bytes      | 8192                  | send less, or create the queue with a larger one
alone | MemoryQueue().send(1)                  | TypeError       | not int         | bytes, bytearray or memoryview | must be
alone | MemoryQueue().send(b"", type="a")      | TypeError       | type='a'        | an int                | must be
# -- tables
alone | Table(0)                               | ValueError      | size=0          | 1..2**31-1 rows       | must be
alone | Int(3)                                 | ValueError      | size=3          | 1, 2, 4 or 8 bytes    | must be
alone | Str(0)                                 | ValueError      | size=0          | 1..1048576 bytes      | must be
alone | Table(8).column("n", 9)                | ValueError      | type=9          | TYPE_INT (1)          | must be
alone | Table(8).create()                      | ValueError      | 0 columns       | 1..256                | a table has
alone | Table(8).get("a")                      | MisuseError     | this table      | is not made yet       | call create() first
alone | table.create()                         | MisuseError     | create()        | before the table is made | make a new Table
alone | table.column("late", Int())            | MisuseError     | column()        | before the table is made | make a new Table
alone | Table.open("ipckit-none")              | NotFound        | 'ipckit-none'   | there is no table     | create() makes one
alone | table.set("k" * 65, {})                | ValueError      | 65 bytes        | key_size=64           | shorten it or make the table with a larger key_size
alone | table.get(7)                           | TypeError       | not int         | str or bytes          | must be
alone | table.get("a", "visit")                | SchemaError     | 'visit'         | the columns are       | did you mean 'visits'
alone | table.set("a", {"visit": 1})           | SchemaError     | 'visit'         | the columns are       | did you mean 'visits'
alone | table.set("a", {"visits": "1"})        | SchemaError     | not str         | Int(8)                | takes an int
alone | table.set("a", {"small": 128})         | OverflowError   | 128             | -128..127             | out of the range
alone | table.set("a", {"name": "12345"})      | ValueError      | 5 bytes         | Str(4)                | too long
alone | table.set("a", 7)                      | TypeError       | not int         | a mapping of columns  | must be
alone | table.add("a", {"visits": None})       | SchemaError     | not NoneType    | Int(8)                | takes an int
alone | table.incr("a", "name")                | SchemaError     | Str(4)          | only Int and Float    | can be counted
alone | table.decr("a", "small", 129)          | OverflowError   | 129             | -128..127             | nothing was changed
alone | table.compare_and_set("a", "visits", 0, "1") | SchemaError | not str       | Int(8)                | takes an int
alone | table.lock("a", timeout=-1).__enter__() | ValueError     | timeout=-1      | seconds >= 0          | or None for no limit
alone | [table.set(str(n), {}) for n in range(9)] | TableFull    | was not added   | all 8 rows            | delete rows, or make the table with a larger size
alone | closed_table.get("a")                  | MisuseError     | this table object | is closed           | make or open() the table again
# -- what would wait or fail for ever, were it taken
alone | sysv.set(max_bytes=0)                  | ValueError      | max_bytes=0     | 1..2147483647         | must be
alone | SysvQueue.create(max_bytes=0)          | ValueError      | max_bytes=0     | 1..2147483647         | must be
alone | MemoryQueue(max_bytes=0)               | ValueError      | max_bytes=0     | 1..2147483647         | must be
alone | MemoryQueue().set(max_bytes=0)         | ValueError      | max_bytes=0     | 1..2147483647         | must be
alone | op(key=3)                              | TypeError       | key=3           | a hypothesis strategy | e.g. strategies.integers()
alone | Kill(at=3)                             | TypeError       | at=3            | "start", "inside", "end" | or None for any moment
alone | Stop(at="")                            | ValueError      | at=''           | "start", "inside", "end" | or None for any moment
alone | kill_point(3)                          | TypeError       | name=3          | a str                 | must be
# -- atomic numbers, locks, channels
alone | Atomic("1")                            | TypeError       | value='1'       | an int                | must be
alone | Atomic(2**63)                          | OverflowError   | value is over   | 64 bits               | must be -2**63..2**63-1
alone | Atomic().wait(0, timeout=-1)           | ValueError      | timeout=-1      | seconds >= 0          | or None for no limit
alone | Atomic().wake(-1)                      | ValueError      | n=-1            | at least 1            | must be
alone | Lock().release()                       | MisuseError     | the lock        | does not hold         | acquire() it first
alone | Lock().acquire(timeout=-1)             | ValueError      | timeout=-1      | seconds >= 0          | or None for no limit
alone | pickle.dumps(Lock())                   | TypeError       | a Lock          | cannot be pickled     | make it before the fork
alone | Channel.pair(max_frame=-1)             | ValueError      | max_frame=-1    | 0..2147483647 bytes   | must be
alone | ours.send("text")                      | TypeError       | not str         | must be bytes         | encode it first
alone | ours.send(bytes(101))                  | MessageTooLarge | 101 bytes       | max_frame is 100      | cut it up, or make the pair with a larger max_frame
alone | ours.send(b"", kind=65536)             | ValueError      | kind=65536      | 0..65535              | must be
alone | ours.send(b"", fds=[0] * 254)          | ValueError      | 254 descriptors | 253                   | at most
alone | ours.receive(timeout=-1)               | ValueError      | timeout=-1      | seconds >= 0          | or None for no limit
alone | ours.receive(timeout=0)                | WaitTimeout     | 0 s             | no whole frame came   | what has come is kept
alone | closed_end.send(b"")                   | MisuseError     | send            | this end of the channel is closed | make a new pair
alone | widow.receive(timeout=5)               | PeerGone        | receive         | the other end was closed | close this one too
# -- framing and clients
alone | Framing(open_eof_split=1)              | SettingsError   | open_eof_split=1 | True or False        | must be
alone | Framing(open_eof_split=True, open_length_check=True) | SettingsError | open_length_check=True | cut one way | choose the length field or the EOF
alone | Framing(package_eof="123456789")       | SettingsError   | '123456789'     | 1..8 bytes            | must be
alone | Framing(package_length_type="x")       | SettingsError   | 'x'             | c C s S n v           | must be one of
alone | Framing(package_max_length=0)          | SettingsError   | package_max_length=0 | 1..2147483647 bytes | must be
alone | Client(open_eof_splitt=True)           | SettingsError   | open_eof_splitt | framing setting       | did you mean
alone | Client("TCP4")                         | SettingsError   | 'TCP4'          | UNIX_STREAM           | must be one of
alone | Client(timeout=-1)                     | SettingsError   | timeout=-1      | seconds >= 0          | or None for no limit
alone | Client().connect("127.0.0.1", 65536)   | ValueError      | port=65536      | 1..65535              | must be
alone | Client().connect("127.0.0.1", 1)       | PeerGone        | 127.0.0.1:1     | nobody listens        | is the server up?
alone | Client().send(b"x")                    | MisuseError     | send            | not connected         | connect(host, port) first
alone | Client().recv()                        | MisuseError     | recv            | not connected         | connect(host, port) first
alone | TaskClient(0)                          | ValueError      | key=0           | private to the server | give it a key by ftok()
alone | TaskClient("key")                      | TypeError       | key='key'       | an int                | must be
alone | TaskClient(0x71FF0002).post(1)         | NotFound        | key 1912537090  | No such file          | create() makes a queue
# -- the harness
alone | machine(processes=1)                   | MachineError    | not 1           | from 2 to 16          | processes is a whole number
alone | machine(engine="real time")            | MachineError    | 'real time'     | 'stepped'             | is one of
alone | machine(faults=["kill"])               | MachineError    | 'kill'          | Kill() and Stop()     | holds
alone | machine(partition="key")               | MachineError    | 'key'           | its arguments         | has no argument
alone | machine(add=op()(lambda self: 1))      | MachineError    | Machine.add     | has no model          | add @add.model
alone | invariant(when="always")               | ValueError      | 'always'        | when is               | "quiet"
# -- the server, before start()
manager | server.set(worker_nun=1)             | SettingsError   | 'worker_nun'    | there is no setting   | did you mean 'worker_num'
manager | server.set(worker_num=0)             | SettingsError   | worker_num=0    | 1..                   | must be
manager | server.set(task_ipc_mode=4)          | SettingsError   | task_ipc_mode=4 | 1                     | must be
manager | server.set(keep_connections=1)       | SettingsError   | keep_connections=1 | True               | must be
manager | server.set(user="nobody at all")     | SettingsError   | 'nobody at all' | a user                | must be the name or the number
manager | server.set(log_level="LOUD")         | SettingsError   | 'LOUD'          | log_level             | must be
manager | server.set(ssl="cert.pem")           | SettingsError   | 'cert.pem'      | ssl.SSLContext        | must be
manager | server.set(task_timeout=-1)          | SettingsError   | task_timeout=-1 | task_timeout          | must be
manager | server.set(task_delivery="once")     | SettingsError   | 'once'          | at_most_once          | must be
manager | server.on("recieve", print)          | SettingsError   | 'recieve'       | there is no event     | did you mean 'receive'
manager | server.on("receive", 7)              | SettingsError   | not 7           | callable              | must be
manager | server.listen("127.0.0.1", 65536)    | SettingsError   | port=65536      | 0..65535              | must be
manager | server.ports[0].set(worker_num=1)    | SettingsError   | 'worker_num'    | a port has no setting | server.set()
manager | server.ports[0].on("task", print)    | SettingsError   | 'task'          | the whole server's    | use server.on()
manager | server.add_process(7)                | TypeError       | not 7           | callable              | must be
manager | server.task(1)                       | MisuseError     | task()          | does not run          | start() it first
manager | server.finish(1)                     | MisuseError     | finish()        | inside the `task` callback | in a task worker
manager | server.tick(0, print)                | ValueError      | seconds=0       | 10**9                 | must be
# -- the server's processes
worker | server.task(1, 5)                     | ValueError      | dst=5           | 0..0                  | must be -1
worker | server.task({"f": [print, lambda: 1]}) | TypeError      | data['f'][1]    | cannot be pickled     | send plain data
worker | server.task(1, callback=7)            | TypeError       | not 7           | callable              | must be
worker | server.task(1, delay=-1)              | ValueError      | delay=-1        | 0..10**9 seconds      | must be
worker | server.task(1, dedup_key=7)           | TypeError       | not 7           | a str or None         | must be
worker | server.taskwait(1, timeout=-1)        | ValueError      | timeout=-1      | 0 or more seconds     | must be None or a number
worker | server.task_wait_multi([1], timeout=-1) | ValueError    | timeout=-1      | 0 or more seconds     | must be None or a number
worker | server.finish(1)                      | MisuseError     | finish()        | inside the `task` callback | in a task worker
worker | server.send_message("m", 9)           | ValueError      | dst_worker_id=9 | 0..1                  | must be
worker | server.after(-1, print)               | ValueError      | seconds=-1      | 10**9                 | must be
worker | server.after(1, 7)                    | TypeError       | not 7           | callable              | must be
worker | server.send(1, "text")                | TypeError       | not str         | must be bytes         | encode it first
worker | server.send(1, b"")                   | ValueError      | data            | is empty              | nothing to send
worker | server.bind(1, "uid")                 | ValueError      | uid='uid'       | -2**62..2**62-1       | must be
worker | server.get_client_list(0, -1)         | ValueError      | count=-1        | or more               | must be
worker | server.set(worker_num=2)              | MisuseError     | set()           | before start()        | belongs
worker | server.on("task", print)              | MisuseError     | on()            | before start()        | belongs
worker | server.start()                        | MisuseError     | start()         | runs already          | call start() once
task   | server.task(1)                        | MisuseError     | task()          | this is a task worker | belongs into a worker
task   | server.taskwait(1)                    | MisuseError     | taskwait()      | this is a task worker | belongs into a worker
"""

MISUSES = [
    Misuse(*(cell.strip() for cell in line.split(" | ")))
    for line in _ROWS.splitlines()
    if line and not line.startswith("#")
]
