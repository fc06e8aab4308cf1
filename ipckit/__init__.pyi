# What a type checker sees of the lazy names in __init__.py; tests/meta compares the two.
# A stub, so that the package itself imports no tier.

from ipckit.channel import Channel as Channel
from ipckit.client import Client as Client
from ipckit.client import TaskClient as TaskClient
from ipckit.errors import AccessDenied as AccessDenied
from ipckit.errors import AlreadyExists as AlreadyExists
from ipckit.errors import BootFailed as BootFailed
from ipckit.errors import DeadlockError as DeadlockError
from ipckit.errors import InternalError as InternalError
from ipckit.errors import IPCError as IPCError
from ipckit.errors import MessageTooLarge as MessageTooLarge
from ipckit.errors import MisuseError as MisuseError
from ipckit.errors import NotFound as NotFound
from ipckit.errors import PeerGone as PeerGone
from ipckit.errors import ProtocolError as ProtocolError
from ipckit.errors import QueueEmpty as QueueEmpty
from ipckit.errors import QueueFull as QueueFull
from ipckit.errors import QueueRemoved as QueueRemoved
from ipckit.errors import SchemaError as SchemaError
from ipckit.errors import SegmentCorrupt as SegmentCorrupt
from ipckit.errors import SettingsError as SettingsError
from ipckit.errors import SystemCallError as SystemCallError
from ipckit.errors import TableFull as TableFull
from ipckit.errors import TaskFailed as TaskFailed
from ipckit.errors import TaskQueueFull as TaskQueueFull
from ipckit.errors import TaskTimeout as TaskTimeout
from ipckit.errors import WaitTimeout as WaitTimeout
from ipckit.keys import ftok as ftok
from ipckit.kinds import SockType as SockType
from ipckit.kinds import TaskIPC as TaskIPC
from ipckit.queue import MemoryQueue as MemoryQueue
from ipckit.queue import ObjectQueue as ObjectQueue
from ipckit.queue import PosixQueue as PosixQueue
from ipckit.queue import SharedQueue as SharedQueue
from ipckit.queue import SysvQueue as SysvQueue
from ipckit.queue.php import msg_get_queue as msg_get_queue
from ipckit.queue.php import msg_queue_exists as msg_queue_exists
from ipckit.queue.php import msg_receive as msg_receive
from ipckit.queue.php import msg_remove_queue as msg_remove_queue
from ipckit.queue.php import msg_send as msg_send
from ipckit.queue.php import msg_set_queue as msg_set_queue
from ipckit.queue.php import msg_stat_queue as msg_stat_queue
from ipckit.server import Server as Server
from ipckit.sync import Atomic as Atomic
from ipckit.sync import Lock as Lock
from ipckit.table import Bytes as Bytes
from ipckit.table import Float as Float
from ipckit.table import Int as Int
from ipckit.table import MemoryTable as MemoryTable
from ipckit.table import Str as Str
from ipckit.table import Table as Table

__version__: str
