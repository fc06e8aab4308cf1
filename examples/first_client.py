"""The first server's client: sends a line, prints the answers.

python examples/first_client.py [port] [text]
"""

import sys

from ipckit import Client

port = int(sys.argv[1]) if len(sys.argv) > 1 else 9501
text = sys.argv[2] if len(sys.argv) > 2 else "hello, task worker"

client = Client(open_eof_split=True, package_eof=b"\n")
client.connect("127.0.0.1", port, timeout=5)
client.send(text.encode() + b"\n")
print(client.recv().decode().strip())
print(client.recv().decode().strip())
client.close()
