"""Tell a function of the user's, or a webhook, what happens to a sweep, and never be in the sweep's way."""

import contextlib
import importlib
import inspect
import json
import os
import queue
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlsplit

from trainer.errors import ConfigError
from trainer.words import WARNING, format_count

LIMIT_S = 10.0
"""seconds that a call may take; then it is left behind"""
_HANGING = 3
"""calls left behind after which nothing more is told"""
_WAITING = 1000
"""events that wait to be told, at most; further ones are dropped"""

Event = Mapping[str, Any]
Send = Callable[[dict[str, Any]], object]


def ignore(event: Event) -> None:
    """Tell nobody."""


class Notifier:
    """Calls ``send`` for one event after another, in threads of its own.

    What ``send`` raises is printed as a line. A call that takes longer than the limit is left behind; after three of
    them nothing more is told.
    """

    def __init__(self, send: Send, say: Callable[[str], None], limit_s: float = LIMIT_S) -> None:
        """``say`` prints a line."""
        self._send, self._say, self._limit_s = send, say, limit_s
        self._events: queue.Queue[Event | None] = queue.Queue(_WAITING)
        self._hanging = 0
        self._thread = threading.Thread(target=self._work, name="notify", daemon=True)
        self._thread.start()

    def notify(self, event: Event) -> None:
        """Have an event told soon. Returns at once and raises nothing."""
        with contextlib.suppress(queue.Full):
            self._events.put_nowait(event)

    def close(self) -> None:
        """Wait until all events are told, as long as one call may take."""
        with contextlib.suppress(queue.Full):
            self._events.put_nowait(None)
        self._thread.join(self._limit_s)
        waiting = self._events.qsize() - 1  # without the end
        if self._thread.is_alive() and waiting > 0:
            self._warn(f"{format_count(waiting, 'event')} not told")

    def _work(self) -> None:
        while self._hanging < _HANGING and (event := self._events.get()) is not None:
            self._call(dict(event))

    def _call(self, event: dict[str, Any]) -> None:
        ended, problems = threading.Event(), list[str]()

        def call() -> None:
            try:
                self._send(event)
            except BaseException as error:  # of the user's code, whatever it is: sys.exit too
                problems.append(_line(error))
            finally:
                ended.set()

        threading.Thread(target=call, name="notify call", daemon=True).start()
        if not ended.wait(self._limit_s):
            self._hanging += 1
            more = "; nothing more is told" if self._hanging == _HANGING else ""
            self._warn(f"a call takes longer than {self._limit_s:g} s and is left behind{more}")
        elif problems:
            self._warn(problems[0])

    def _warn(self, problem: str) -> None:
        with contextlib.suppress(Exception):  # a terminal that went away
            self._say(f"{WARNING}notify: {' '.join(problem.split())}")


def _line(error: BaseException) -> str:
    name = type(error).__name__
    try:
        return f"{name}: {error}".rstrip(": ")
    except Exception:  # of an exception that cannot say what it is
        return name


def sender(stated: str, file: str) -> Send:
    """What ``notify`` of a search-space file names: ``module:function``, or the URL of a webhook.

    Environment variables such as ``${HOOK}`` are filled in. Modules are looked for where Python does, in the working
    directory and in the folder of the file. Raises ConfigError, which shows no value of a variable.
    """
    try:
        text = Template(stated).substitute(os.environ)
    except KeyError as error:
        raise _refused(f"the environment variable {error.args[0]} is not set", file) from None
    except ValueError:
        raise _refused(f"{stated!r} has a $ that begins no variable", file) from None
    if text.startswith(("https://", "http://")):
        if not urlsplit(text).hostname:
            raise _refused("the URL names no host", file)
        return lambda event: _post(text, event)
    return _function(text, file)


def _function(text: str, file: str) -> Send:
    module, _, name = text.partition(":")
    if not module or not name.isidentifier():
        raise _refused(f"{text!r} names no function", file)
    for folder in (os.getcwd(), str(Path(file).resolve().parent)):
        if folder not in sys.path:
            sys.path.append(folder)
    try:
        found = getattr(importlib.import_module(module), name, None)
    except (Exception, SystemExit) as error:
        raise _refused(f"{module} cannot be imported: {type(error).__name__}: {error}", file) from None
    if not callable(found):
        raise _refused(f"{module} has no function {name}", file)
    with contextlib.suppress(ValueError):  # of a function in C, which says nothing of its arguments
        try:
            inspect.signature(found).bind({})
        except TypeError:
            raise _refused(f"{text} does not take one argument, the event", file) from None
    send: Send = found
    return send


def _post(url: str, event: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/json", "User-Agent": "imbalanced-cil-sweeper"}
    request = urllib.request.Request(url, json.dumps(event, default=str).encode(), headers)
    host = urlsplit(url).hostname
    try:
        # Its own opener: the one that a process shares keeps the proxies of its first request.
        urllib.request.build_opener().open(request, timeout=LIMIT_S).close()
    except urllib.error.HTTPError as error:
        raise ConnectionError(f"{host} answers {error.code} {error.reason}") from None
    except (OSError, ValueError) as error:  # its message may hold the URL, whose path is a secret
        reason = getattr(error, "reason", None) or type(error).__name__
        raise ConnectionError(f"{host} cannot be reached: {reason}") from None


def _refused(problem: str, file: str) -> ConfigError:
    return ConfigError(problem, file=file, field="notify", allowed="module:function, or https://... of a webhook")
