# SPDX-License-Identifier: Apache-2.0
"""A store of thousands of certificates, without a token's work for each."""

import contextlib
import sqlite3


def columns_of(store, table):
    return [row[1] for row in store.execute(f"PRAGMA table_info({table})")]


def put(store, table, row):
    store.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values()))


def rows_of(store, table, where, id):
    return [dict(zip(columns_of(store, table), row))
            for row in store.execute(f"SELECT * FROM {table} WHERE {where} = ?", (id,))]


def copy_certificate(broker, id, ids, names=None):
    """That one under other ids, all with the one key. names: in place of its own in each leaf, and as long as that."""
    broker.stop()
    with contextlib.closing(sqlite3.connect(broker.state / "certbroker.sqlite")) as store, store:
        [certificate] = rows_of(store, "certificate", "id", id)
        [generation], chain = rows_of(store, "generation", "certificate", id), rows_of(store, "chain", "certificate", id)
        for i, other in enumerate(ids):
            put(store, "certificate", certificate | {"id": other})
            put(store, "generation", generation | {"certificate": other})
            for link in chain:
                der = link["der"].replace(names[0], names[i + 1]) if names else link["der"]
                put(store, "chain", link | {"certificate": other, "der": der})
    broker.start()
