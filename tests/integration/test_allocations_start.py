# SPDX-License-Identifier: Apache-2.0
"""Allocations that fail while certbrokerd or a source's process starts. libcrypto crashes where it cannot set itself up, which
a sanitizer would report: so not with one."""

import contextlib
import subprocess

import pytest

from allocations import ALL, OURS, preload, turns
from broker import PATIENCE

DIGEST = b"x" * 32


@pytest.fixture
def page(stopped):
    """A broker that has been, with two certificates; its page."""
    page = preload(stopped)
    stopped.start()
    stopped.import_new("client", "rsa-2048")
    stopped.import_new("other", "ec-p256")
    return page


def start_armed(broker, page, nth):
    """Starts it with that allocation of its own failing: its status, None where it got ready; whether it did fail."""
    broker.log.unlink(missing_ok=True)
    page.arm(0, nth, OURS, program="certbrokerd")
    daemon = broker.spawn()
    while daemon.poll() is None and "certbrokerd: ready" not in broker.log_text():
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(0.02)
    failed = page.disarm()
    if daemon.poll() is not None:
        return daemon.returncode, failed
    daemon.terminate()
    assert daemon.wait(20 * PATIENCE) == 0
    return None, failed


def test_broker_starts(stopped, page):
    """It starts, or says that it cannot, with a status with which it is started again; what it keeps is as it was."""
    stopped.stop()
    n_ended = 0
    for nth in turns():
        status, failed = start_armed(stopped, page, nth)
        if status is not None:
            n_ended += 1
            told = status in (69, 70) and "certbrokerd: error: " in stopped.log_text()
            # libcrypto crashes where it cannot set itself up, before anything else is done: it is started again then, too.
            assert failed and (told or "pki_init" in page.trace()), \
                f"allocation {nth}: {status}\n{page.trace()}\n{stopped.log_text()}"
        if not failed:
            break
    print(f"start: {n_ended} ended of {nth}")
    assert n_ended > 3
    stopped.start()
    assert stopped.list_ids() == ["client", "other"]
    assert stopped.sign("client", "rsa-pkcs1-sha256", DIGEST)
    verified = stopped.cli("audit", "verify")
    assert verified.returncode == 0, verified.stderr.decode() + verified.stdout.decode()


def test_source_starts(stopped, page):
    """A source's process that cannot start is started again, and logs in with the PIN that it has."""
    for n, nth in enumerate(turns() if ALL else (1, 12, 100, 1000)):  # each waits a second to be started again
        stopped.stop()
        page.arm(0, nth, OURS, program="certbroker-source")
        stopped.start()
        if page.disarm() == 0:
            break
    print(f"start of a source: {n} failed")
    assert n >= 3
    assert stopped.sign("client", "rsa-pkcs1-sha256", DIGEST)
    assert "KeySuspected" not in (stopped.state / "audit.jsonl").read_text()
