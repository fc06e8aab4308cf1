"""Why a task is refused, in words: which limit is reached, and which setting to change. Pure.

Stands on ipckit.server.config.settings.
"""

from __future__ import annotations

from ipckit.server.config.settings import Settings

__all__ = ["advice", "what_is_full"]


def what_is_full(settings: Settings, setting: str) -> str:
    """Return in words that a setting's limit is reached: task_queue_size or task_memory."""
    if setting == "task_memory":
        return f"the data of the tasks that wait fills task_memory={settings.task_memory} bytes"
    return f"task_queue_size={settings.task_queue_size} tasks are queued or running"


def advice(settings: Settings, setting: str, needed: float) -> str:
    """Return what is full, and the setting to raise where `needed` task workers are needed."""
    there = settings.task_worker_num
    if not needed:
        return f"{what_is_full(settings, setting)}: raise task_worker_num, or {setting} for a burst"
    few = needed > there
    raised = "task_worker_num" if few else f"{setting}, or task_worker_num where this lasts"
    return (
        f"{what_is_full(settings, setting)}; what arrives takes {needed:.1f} task workers, there "
        f"are {there}: raise {raised}"
    )
