"""What Python before 3.13 forgets: a cancellation that comes while a task group is ending.

A task group that has failed waits for its children; should its task be cancelled meanwhile, only
the failure is raised. Whoever catches that and goes on would never end.
"""

import asyncio


def heed_cancellation() -> None:
    """Raise the cancellation that this task was sent, if one was lost.

    For whoever goes on after catching what a task group raised.

    Raises:
        asyncio.CancelledError: the task should end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
