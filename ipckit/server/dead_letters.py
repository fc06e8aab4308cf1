"""The documented import path of the dead letters; they are in ipckit.server.tasks."""

from ipckit.server.tasks.dead_letters import DeadLetter, DeadLetters

__all__ = ["DeadLetter", "DeadLetters"]
