"""Fan-out from a task: a task worker sends one line to all subscribers of a topic.

python examples/fan_out.py [port]       and then, in two terminals: nc 127.0.0.1 9507
"sub TOPIC" and "unsub TOPIC" are answered; "pub TOPIC LINE" posts a task and reports its progress.

It shows  that a task worker sends to every connection, in batches, while the workers keep serving.
          `send` in a task worker waits for a worker that has no room.
Order     the lines of a topic arrive in the order of their numbers: `ordering_key`.
Gone      `send` returns False for a client that has left; it is removed. The server closes slow
          readers.
Crash     of the task worker: the task runs again, from its last complete batch on. Up to BATCH
          followers may get its line twice, with the same number; none misses it. A reload, and a
          crash of a worker, keep topics and idle connections.
"""

import sys

from ipckit import Int, IPCError, Server, Str, Table, TaskQueueFull

BATCH = 50

followers = Table(10_000, columns={"topics": Str(200)}, key_size=20)  # by session
done = Table(4096, columns={"by": Int(), "upto": Int(), "sent": Int(), "gone": Int()})  # by task

server = Server("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 9507)
server.set(worker_num=2, task_worker_num=2, open_eof_split=True, package_eof=b"\n")
server.set(max_connection=followers.size, package_max_length=8_000, task_queue_size=done.size)


def topics_of(fd):
    return set(followers.get(str(fd), "topics", "").split())


def follow(fd, topics):
    followers.set(str(fd), {"topics": " ".join(sorted(topics))})
    server.send(fd, f"* you follow {followers.get(str(fd), 'topics') or 'nothing'}\n".encode())


def subscribe(fd, topic):
    follow(fd, topics_of(fd) | {topic})


def unsubscribe(fd, topic):
    follow(fd, topics_of(fd) - {topic})


def publish(fd, topic, *words):
    try:
        task_id = server.task((fd, topic, " ".join(words)), ordering_key=topic)
    except TaskQueueFull:
        server.send(fd, b"* busy, try again later\n")
    else:
        server.send(fd, f"* #{task_id} is posted\n".encode())


commands = {"sub": subscribe, "unsub": unsubscribe, "pub": publish}


@server.on("start")
def start(server):
    print(f"listening on {server.port}", flush=True)


@server.on("receive")
def receive(server, fd, reactor_id, data):
    command, *words = data.decode(errors="replace").split() or [""]
    try:
        commands[command](fd, *words)
    except (KeyError, TypeError):
        server.send(fd, b"! sub TOPIC, unsub TOPIC, or pub TOPIC LINE\n")
    except (ValueError, IPCError) as error:  # too many topics, or tasks
        server.send(fd, f"! {error}\n".encode())


@server.on("task")
def task(server, task_id, src_worker_id, data):
    publisher, topic, line = data
    whole = f"#{task_id} {topic}: {line}\n".encode()
    key = str(task_id)
    done.add(key, {"by": publisher})
    row = done.get(key)
    if server.current_task.attempt > 1:
        again = f"* #{key} goes on after {row['sent'] + row['gone']} of its followers\n"
        server.send(publisher, again.encode())
    there = sorted(int(fd) for fd, one in followers.items() if topic in one["topics"].split())
    left = [fd for fd in there if fd > row["upto"]]  # a session's number is used once, and grows
    for at in range(0, len(left), BATCH):
        for fd in left[at : at + BATCH]:
            if server.send(fd, whole):
                row["sent"] += 1
            else:
                followers.delete(str(fd))
                row["gone"] += 1
            row["upto"] = fd
        done.set(key, row)  # one step: the batch counts as sent, or it is sent again
        server.send(publisher, f"* #{key}: {row['sent']} sent, {row['gone']} gone\n".encode())
    server.send(publisher, f"* #{key} is done: {row['sent']} sent, {row['gone']} gone\n".encode())
    return True  # so that finish fires


@server.on("finish")
def finish(server, task_id, result):
    done.delete(str(task_id))  # not before: until the result is stored, the task may run again


@server.on("task_failed")
def task_failed(server, task_id, error):
    publisher = done.get(str(task_id), "by", 0)
    done.delete(str(task_id))
    server.send(publisher, f"* #{task_id} was given up: {error}\n".encode())


@server.on("close")
def close(server, fd, reactor_id):
    followers.delete(str(fd))


server.start()
