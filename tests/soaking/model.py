# SPDX-License-Identifier: Apache-2.0
"""What certificates and backends are to be by what was acknowledged, and what is not known: the outcome of a call that
had no answer, or one that says neither yes nor no.

Each thing has one thread that changes it. Of a thing there are one or more candidates, what it may be; what is observed
leaves those that fit, and is wrong where none does. A call that was acknowledged leaves none in which it was not done.
"""

import threading
import time
import typing

from broker import Failure

# After these the call may have been carried out all the same.
UNDECIDED = ("TimedOut", "Failed")


def is_undecided(failure):
    return "." in failure.name or failure.name in UNDECIDED


class Certificate(typing.NamedTuple):
    present: bool = False
    enabled: bool = True
    current: int = 0
    leaves: tuple = ()  # (number, SHA-256 thumbprint; empty: pending), ascending
    retired: frozenset = frozenset()

    @property
    def newest(self):
        return self.leaves[-1][0] if self.leaves else 0

    def leaf(self, number):
        return dict(self.leaves).get(number)

    def published(self, thumbprint):
        """With one more generation, which is current."""
        number = self.newest + 1
        return self._replace(present=True, current=number, leaves=(*self.leaves, (number, thumbprint)))

    def differs(self, row):
        """What in the broker's properties (None: there are none) is not so here; empty: nothing."""
        if not self.present or row is None:
            return "" if self.present == (row is not None) else "its being there"
        rows = [(int(n), str(thumbprint), int(until)) for n, thumbprint, until in row["Generations"]]
        now = time.time()
        wrong = {
            "Generations": [(n, thumbprint) for n, thumbprint, _ in rows] != list(self.leaves),
            "Generation": int(row["Generation"]) != self.current,
            "State": (str(row["State"]) == "disabled") == self.enabled,
            "a retired generation": any(until == 0 or until > now for n, _, until in rows if n in self.retired),
            "the current generation's end": any(until != 0 for n, _, until in rows if n == self.current != 0),
        }
        return ", ".join(name for name, is_wrong in wrong.items() if is_wrong)


class Backend(typing.NamedTuple):
    present: bool = False
    certificate: str = ""
    url: str = ""

    def differs(self, row):
        if not self.present or row is None:
            return "" if self.present == (row is not None) else "its being there"
        wrong = {"Certificate": str(row["Certificate"]) != self.certificate, "Url": str(row["Url"]) != self.url}
        return ", ".join(name for name, is_wrong in wrong.items() if is_wrong)


class Lost(Exception):
    """What is observed fits nothing that was acknowledged."""


class Record:
    """One thing. Its stamp is another whenever a change of it begins or ends, and odd while one is under way."""

    def __init__(self, name, nothing):
        self.name, self.nothing = name, nothing
        self.candidates = {nothing}
        self.stamp = 0
        self.ended = {}   # generation (0: all): the moment from which no signature of it may come
        self.until = {}   # generation: the end of its grace as the broker has told it since the last change, 0 for none
        self.later = None  # a step that may be taken at any time, by itself; `again` asks for it
        self.again = None
        self.doomed = False  # it is being deleted, and some of its keys may be gone
        self.lock = threading.Lock()

    @property
    def sure(self):
        """What it is, where that is known."""
        candidates = self.candidates
        return next(iter(candidates)) if len(candidates) == 1 else None

    def begin(self, revives=()):
        with self.lock:
            self.stamp += 1
            for generation in revives:
                self.ended.pop(generation, None)

    def acknowledged(self, step, ends=None):
        with self.lock:
            self.candidates, self.until = {step(c) for c in self.candidates}, {}
            if ends is not None:
                self.ended[ends] = time.monotonic()
            self.stamp += 1

    def refused(self):
        with self.lock:
            self.stamp += 1

    def undecided(self, step):
        with self.lock:
            self.candidates, self.until = self.candidates | {step(c) for c in self.candidates}, {}
            self.stamp += 1

    def observed(self, row):
        """Keeps the candidates that fit. While no change is under way."""
        with self.lock:
            fits = {c for c in self.candidates if not c.differs(row)}
            if row is None:
                self.later, self.doomed = None, False
            if not fits:
                raise Lost(f"{self.name}: {'; or '.join(sorted(c.differs(row) for c in self.candidates))}: "
                           f"acknowledged is {self.candidates}, there is {plain(row)}")
            if self.later:
                fits |= {self.later(c) for c in fits}
            if fits != self.candidates:
                self.candidates = fits
                self.stamp += 2
            if row is not None and "Generations" in row:
                self.until = {int(n): int(until) for n, _, until in row["Generations"]}
            elif row is None:
                self.until = {}

    def is_ended(self, generation):
        """Since when it may not sign, all of it or this generation; None: it may."""
        with self.lock:
            moments = [self.ended[g] for g in (0, generation) if g in self.ended]
            return min(moments) if moments else None


def plain(row):
    if row is None:
        return None
    return {str(k): ([tuple(map(str, g)) for g in v] if k == "Generations" else str(v)) for k, v in row.items()
            if k in ("State", "Generation", "Generations", "Certificate", "Url", "LastError")}


class Model:
    def __init__(self):
        self.certificates, self.backends = {}, {}
        self.leaves = {}  # (id, SHA-256 thumbprint): its public key and SHA-1 thumbprint
        self.done, self.perhaps = {}, {}  # (event, path): how often acknowledged, and left undecided
        self._lock = threading.Lock()

    def certificate(self, name):
        return self.certificates.setdefault(name, Record(name, Certificate()))

    def backend(self, name):
        return self.backends.setdefault(name, Record(name, Backend()))

    def count(self, event, path, undecided=False):
        where = self.perhaps if undecided else self.done
        with self._lock:
            where[event, path] = where.get((event, path), 0) + 1

    def change(self, record, step, event, path, call, ends=None, revives=()):
        """Makes one call that changes one thing. What it answered; a Failure is passed on."""
        record.begin(revives)
        try:
            answer = call()
        except Failure as failure:
            if record.later or is_undecided(failure):
                self.count(event, path, undecided=True)
                record.undecided(step)
            else:
                record.refused()
            raise
        self.count(event, path)
        record.acknowledged(step, ends)
        return answer
