# SPDX-License-Identifier: Apache-2.0
"""What has happened, what was wrong, and how often what was done: for the progress and the end."""

import collections
import threading
import time


class Report:
    """Of all threads. The first invariant that is broken ends the run."""

    def __init__(self, seed, log):
        self.seed, self.began = seed, time.monotonic()
        self.log = log.open("a", buffering=1)
        self.last = collections.deque(maxlen=60)
        self.counts = collections.Counter()
        self.took = collections.defaultdict(list)  # kind of fault: seconds until everything succeeded again
        self.worst = {}  # name: (value, unit)
        self.broken = []
        self.stop = threading.Event()
        self._lock = threading.Lock()

    def seconds(self):
        return time.monotonic() - self.began

    def event(self, text):
        line = f"{self.seconds():8.2f} {threading.current_thread().name}: {text}"
        self.last.append(line)
        self.log.write(line + "\n")

    def count(self, name, n=1):
        with self._lock:
            self.counts[name] += n

    def highest(self, name, value, unit=""):
        with self._lock:
            if value > self.worst.get(name, (-1, ""))[0]:
                self.worst[name] = (value, unit)

    def breaks(self, text):
        """An invariant does not hold."""
        self.event("BROKEN " + text)
        with self._lock:
            self.broken.append((self.seconds(), text))
        self.stop.set()

    def progress(self, minutes):
        c = self.counts
        print(f"minute {self.seconds() / 60:5.1f} of {minutes:g}, seed {self.seed}: {c['signatures']} signatures, "
              f"{c['gateway requests']} gateway requests, {c['changes']} changes, {c['rotations']} rotations, "
              f"{c['faults']} faults, {c['restarts of the broker']} restarts, {c['comparisons']} comparisons, "
              f"{c['audit records']} records", flush=True)

    def table(self):
        rows = [(name, str(n)) for name, n in sorted(self.counts.items())]
        rows += [(name, f"{value:g} {unit}".strip()) for name, (value, unit) in sorted(self.worst.items())]
        width = max([len(name) for name, _ in rows], default=0)
        print("\n".join(f"{name:{width}}  {value}" for name, value in rows))
        print("\nfault, times, seconds until everything succeeds again (median, largest):")
        for kind, seconds in sorted(self.took.items()):
            seconds = sorted(seconds)
            print(f"{kind:{width}}  {len(seconds):4} {seconds[len(seconds) // 2]:7.1f} {seconds[-1]:7.1f}")

    def complaint(self, folder):
        print(f"\nsoak: {len(self.broken)} broken, seed {self.seed}; everything is kept in {folder}")
        for moment, text in self.broken[:20]:
            print(f"  after {moment:.2f} s: {text}")
        print("the last events:")
        for line in list(self.last):
            print("  " + line)
