"""Notice, in a trial's process, that it ends soon: SIGTERM, or Ray drains its node."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import ray
from ray._private.state import state as cluster_state  # nothing public tells of draining; Ray Train asks here too

TOLD_TO_END, DRAINED = "its process was told to end (SIGTERM)", "its node is being drained"
_LOOK_EVERY_S = 2.0


class Notice:
    """A handler of SIGTERM that training heeds after its next step.

    Whatever else a process is doing, Ray's own handler ends it at once. So does a second signal.
    """

    def __init__(self, otherwise: Any) -> None:
        """``otherwise``: the handler that was there before, in a form that ``signal.signal`` takes."""
        self.reason: str | None = None
        """why the process ends; None: it does not"""
        self._otherwise, self._training = otherwise, False

    @classmethod
    def listen(cls) -> None:
        """Handle the signals of this process. Only its main thread may call this."""
        signal.signal(signal.SIGTERM, cls(signal.getsignal(signal.SIGTERM)))

    @classmethod
    def of_process(cls) -> "Notice":
        """The one that listens; a trial that runs outside of Ray has one that hears of no signal."""
        found = signal.getsignal(signal.SIGTERM)
        return found if isinstance(found, cls) else cls(found)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._training and self.reason is None:
            self.reason = TOLD_TO_END
        elif callable(self._otherwise):
            self._otherwise(number, frame)

    @contextlib.contextmanager
    def heeded(self) -> Iterator[None]:
        """Within, training asks ``is_due`` after each step, and the node is watched."""
        ended = threading.Event()
        threading.Thread(target=self._watch_node, args=[ended], daemon=True).start()
        try:
            yield
        finally:
            ended.set()
            self._training = False

    def is_due(self) -> bool:
        """Whether to stop, after a step: from the first one on there is something to keep."""
        self._training = True
        return self.reason is not None

    def _watch_node(self, ended: threading.Event) -> None:
        if not ray.is_initialized():
            return
        own = ray.get_runtime_context().get_node_id()
        while not ended.is_set():
            with contextlib.suppress(Exception):  # the head does not answer: the next time it may
                if own in cluster_state.get_draining_nodes():
                    self.reason = DRAINED
                    return
            ended.wait(_LOOK_EVERY_S)
