# SPDX-License-Identifier: Apache-2.0
"""What is disturbed at the moment, and what was until when: which failures of a call are no wonder."""

import threading
import time


class Disturbances:
    """By part of the system: broker, hsm, vault, bus, log, store."""

    def __init__(self):
        self._lock = threading.Lock()
        self._active = set()
        self._last = {}  # part: when everything succeeded again after its last one

    def begin(self, *parts):
        with self._lock:
            self._active |= set(parts)

    def over(self):
        """Everything has succeeded again."""
        with self._lock:
            for part in self._active:
                self._last[part] = time.monotonic()
            self._active.clear()

    def any(self):
        return bool(self._active)

    def touched(self, parts, since):
        """Has one of them been disturbed at any time since then?"""
        with self._lock:
            return any(part in self._active or self._last.get(part, 0) >= since for part in parts)
