# SPDX-License-Identifier: Apache-2.0
"""GetMetrics, read by a parser that is not ours."""
import json
import subprocess

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from broker import DAEMON, GRANT_ALL, ME


def samples(broker):
    families = list(text_string_to_metric_families(str(broker.manager("GetMetrics"))))
    assert families
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families for sample in family.samples}


def value(broker, name, **labels):
    return samples(broker)[(name, tuple(sorted(labels.items())))]


def test_requests_are_counted_by_operation_source_and_outcome(broker, refused):
    broker.import_new("client", "ec-p256")
    for _ in range(3):
        broker.sign("client", "ecdsa-sha256", bytes(32))
    refused("InvalidArgument", broker.sign, "client", "ecdsa-sha256", bytes(31))
    refused("NotFound", broker.sign, "nobody", "ecdsa-sha256", bytes(32))
    count = "certbroker_requests_total"
    assert value(broker, count, operation="Sign", source="hsm", outcome="ok") == 3
    assert value(broker, count, operation="Sign", source="hsm", outcome="InvalidArgument") == 1
    assert value(broker, count, operation="Sign", source="", outcome="NotFound") == 1
    assert value(broker, "certbroker_request_duration_seconds_count", operation="Sign", source="hsm") == 4
    assert value(broker, "certbroker_request_duration_seconds_bucket", operation="Sign", source="hsm", le="+Inf") == 4


def test_states_ends_and_queues(broker):
    cert = broker.import_new("client", "ec-p256")
    assert value(broker, "certbroker_source_state", source="hsm", certbroker_source_state="ready") == 1
    assert value(broker, "certbroker_source_state", source="hsm", certbroker_source_state="locked") == 0
    not_after = int(broker.certificate_properties("client")["NotAfter"])
    assert value(broker, "certbroker_certificate_not_after_seconds", certificate="client") == not_after
    assert value(broker, "certbroker_source_queue", source="hsm") == 0
    assert value(broker, "certbroker_calls_in_flight") == 1, "the call that asks"
    assert value(broker, "certbroker_audit_records_total") >= 1
    assert value(broker, "certbroker_audit_healthy") == 1
    assert cert


def test_credentials_from_what_is_kept(broker, refused):
    """Fresh while the source serves, stale while it does not."""
    broker.import_new("client", "ec-p256")
    broker.create_backend("orders", "client")
    for _ in range(2):
        broker.backend("orders", "GetCredential")
    assert value(broker, "certbroker_cache_hits_total", source="hsm", state="fresh") == 2
    broker.stop()
    broker.tokens.rename(broker.folder / "gone")
    broker.tokens.mkdir()
    broker.start(ready=None)
    assert broker.backend("orders", "GetCredential")["stale"]
    assert value(broker, "certbroker_cache_hits_total", source="hsm", state="stale") == 1
    broker.certificate("client", "SetEnabled", "b", False)
    refused("Disabled", broker.backend, "orders", "GetCredential")
    assert value(broker, "certbroker_cache_hits_total", source="hsm", state="stale") == 1


def test_the_grants_in_force(broker):
    """Their hash is the one that --check-config tells of the configuration."""
    def read_now():
        done = subprocess.run([DAEMON, "--config", broker.config, "--check-config", "--json"],
                              env=broker.environment(), capture_output=True, check=True)
        return json.loads(done.stdout)["grants-sha256"]

    before = read_now()
    assert value(broker, "certbroker_grants_info", sha256=before) == 1
    broker.configure(grants=GRANT_ALL.format(me=ME).replace('"use"', '"use", "export"'))
    assert read_now() != before
    assert value(broker, "certbroker_grants_info", sha256=before) == 1
    broker.manager("Reload")
    assert value(broker, "certbroker_grants_info", sha256=read_now()) == 1


def test_labels_are_bounded_by_what_is_there(broker, refused):
    for i in range(50):
        refused("NotFound", broker.sign, f"nobody-{i}", "ecdsa-sha256", bytes(32))
    signs = [key for key in samples(broker) if key[0] == "certbroker_requests_total" and ("operation", "Sign") in key[1]]
    assert len(signs) == 1
