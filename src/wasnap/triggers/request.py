"""One wish for a snapshot, on its way from a trigger to the process and back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

import msgspec

if TYPE_CHECKING:
    from wasnap.host.occasions import Occasions


class Then(NamedTuple):
    """What follows a snapshot, before the guest does anything more.

    ``end``: the exit code to end the process with. ``pause``: stop it (SIGSTOP) until SIGCONT.
    ``anyway``: also if the snapshot failed. ``signal``: SIGINT ..., which the guest handles: it gets
    it, in any case, and nothing else follows. ``wait``: go on, but not before the snapshot is
    committed.
    """

    end: int | None = None
    pause: bool = False
    anyway: bool = False
    signal: str = ""
    wait: bool = False

    @property
    def urgent(self) -> bool:
        """Whether the guest must not go on before the snapshot is committed."""
        return self.end is not None or self.pause or bool(self.signal) or self.wait


GO_ON = Then()


class Estate(NamedTuple):
    """All that another process needs to go on with this one. ``journal``: a descriptor of it, with
    its lock. ``sockets``: guest descriptor -> this process's.
    """

    snapshot: int
    journal: int
    sockets: dict[int, int]


class Request:
    """``trigger``: its name in the journal. ``offer``: hands the process over to another one, when
    the snapshot is committed and the guest stands still at it; whether that has it now. Such a
    request is served after that.

    ``begun``: the process is about to take the snapshot, or has taken it: what happens from now on
    is not in it. Served exactly once: with the snapshot's id, or with why there is none.
    """

    def __init__(
        self,
        trigger: str,
        *,
        label: str = "",
        then: Then = GO_ON,
        offer: Callable[[Estate], bool] | None = None,
    ) -> None:
        self.trigger = trigger
        self.label = label
        self.then = then
        self.offer = offer
        self.begun = False
        self._served = threading.Event()
        self._id: int | None = None
        self._error: BaseException | None = None

    def serve(self, snapshot: int) -> None:
        """The snapshot is committed."""
        self._id = snapshot
        self._served.set()

    def fail(self, error: BaseException) -> None:
        """There will be none."""
        self._error = error
        self._served.set()

    @property
    def served(self) -> bool:
        """Whether the answer is there."""
        return self._served.is_set()

    def result(self, timeout: float | None = None) -> int:
        """Wait for the id. Raises what ``fail`` was given, or TimeoutError."""
        if not self._served.wait(timeout):
            raise TimeoutError("the snapshot is not there yet")
        if self._error is not None:
            raise self._error
        assert self._id is not None
        return self._id

    def wait(self) -> bool:
        """Wait for the answer, whatever it is: whether there is a snapshot."""
        self._served.wait()
        return self._error is None


Submit: TypeAlias = Callable[[Request], None]
"""Takes a request from any thread, or from a signal handler, and returns at once."""


class Around(msgspec.Struct, frozen=True):
    """What a trigger has around it.

    ``activity()`` grows whenever the guest runs; ``changed()``: whether it has since the last
    snapshot. ``handles(name)``: whether the guest handles this signal, SIGINT ..., itself.
    ``occasions``: where the guest says what it is about to do.
    """

    submit: Submit
    activity: Callable[[], int]
    changed: Callable[[], bool]
    handles: Callable[[str], bool]
    occasions: Occasions


class Trigger(Protocol):
    """Something that submits requests between ``arm`` and ``disarm``, both called by one thread.

    ``name``: as users give it.
    """

    name: str

    def arm(self, around: Around) -> None: ...
    def disarm(self) -> None: ...
