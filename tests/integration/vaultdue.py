# SPDX-License-Identifier: Apache-2.0
"""Certificates of the test vault whose look-ups are all due at once: for test_vault_due.py and tests/bench/vault."""

import contextlib
import sqlite3

from many import put, rows_of


def ids_of(n):
    return [f"due-{i:04}" for i in range(n)]


def all_due(broker, id, n, when):
    """The vault gets n more of that certificate, and so does the store of the broker, which ends; they are due then, in order."""
    vault, made = broker.vault, broker.vault.certificate(id)
    versions = {other: vault.add_certificate(other, key=made["key"], chain=made["chain"],
                                             content_type="application/x-pem-file")["version"] for other in ids_of(n)}
    broker.stop()
    with contextlib.closing(sqlite3.connect(broker.state / "certbroker.sqlite")) as store, store:
        [certificate] = rows_of(store, "certificate", "id", id)
        [generation], chain = rows_of(store, "generation", "certificate", id), rows_of(store, "chain", "certificate", id)
        for i, (other, version) in enumerate(versions.items()):
            put(store, "certificate", certificate | {"id": other, "registered_uri": broker.uri(other), "next_refresh": int(when) + (i > n / 2)})
            put(store, "generation", generation | {"certificate": other,
                                                   "key_uri": f"{vault.named_url}/keys/{other}/{version}"})
            for link in chain:
                put(store, "chain", link | {"certificate": other})
