# SPDX-License-Identifier: Apache-2.0
"""GetMetrics, read by a parser that is not ours."""
import contextlib
import json
import pathlib
import re
import socket
import subprocess
import urllib.error
import urllib.request

import prometheus_client.parser
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from broker import DAEMON, GRANT_ALL, ME, wait_until


DOCS = pathlib.Path(__file__).parents[2] / "docs"


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


def printed(broker, *arguments):
    done = broker.cli("metrics", *arguments)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def fetch(url):
    """None: nobody is there yet."""
    with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()
    return None


def families_of(text):
    return {family.name: family for family in prometheus_client.parser.text_string_to_metric_families(text)}


def test_older_text_format_is_read_by_its_own_parser(broker):
    """The same samples; counters, state sets and infos as that format calls them."""
    broker.import_new("client", "ec-p256")
    broker.sign("client", "ecdsa-sha256", bytes(32))
    families = families_of(printed(broker, "--format", "prometheus"))
    types = {name: family.type for name, family in families.items()}
    assert types["certbroker_requests"] == "counter"  # the parser takes _total off
    assert types["certbroker_source_state"] == "gauge"
    assert types["certbroker_grants_info"] == "gauge"
    assert types["certbroker_request_duration_seconds"] == "histogram"
    assert "unknown" not in types.values()
    assert all(family.documentation for family in families.values())
    names = {sample.name for family in families.values() for sample in family.samples}
    assert names == {name for name, _ in samples(broker)}
    assert broker.cli("metrics", "--format", "xml").returncode == 2


def test_node_exporter_serves_them(broker, folder):
    """Written as a timer does it, read by Debian's own node_exporter."""
    broker.import_new("client", "ec-p256")
    written = folder / "textfile" / "certbroker.prom"
    written.parent.mkdir()
    assert printed(broker, "--format", "prometheus", "-o", str(written)) == ""
    assert written.stat().st_mode & 0o777 == 0o644
    with socket.create_server(("127.0.0.1", 0)) as place:
        address = "127.0.0.1:%d" % place.getsockname()[1]
    exporter = subprocess.Popen(
        ["prometheus-node-exporter", "--collector.disable-defaults", "--collector.textfile",
         f"--collector.textfile.directory={written.parent}", f"--web.listen-address={address}"],
        stderr=subprocess.DEVNULL)
    try:
        served = families_of(wait_until(lambda: fetch(f"http://{address}/metrics"), "node_exporter answers"))
    finally:
        exporter.kill()
        exporter.wait()
    assert [sample.value for sample in served["node_textfile_scrape_error"].samples] == [0]
    ends = {sample.labels["certificate"]: sample.value for sample in served["certbroker_certificate_not_after_seconds"].samples}
    assert ends == {"client": int(broker.certificate_properties("client")["NotAfter"])}


def test_dashboard_and_manual_ask_for_what_there_is(broker):
    """Each metric, and each label, that the dashboard or an alert in the manual names."""
    broker.import_new("client", "ec-p256")
    broker.sign("client", "ecdsa-sha256", bytes(32))
    text = printed(broker, "--format", "prometheus")
    dashboard = json.loads((DOCS / "grafana.json").read_text())
    asked = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    asked += (DOCS / "operations.md").read_text().split("## Metrics")[1].split("\n## ")[0]
    names = set(re.findall(r"\bcertbroker_[a-z_]+(?=[{} ])", asked))
    described = set(re.findall(r"^# TYPE (\S+)", text, re.M))
    assert len(names) > 8
    assert {re.sub("_bucket$", "", name) for name in names} - {"certbroker_source_state"} <= described
    labels = {label for name in re.findall(r"by \(([a-z_, ]+)\)", asked) for label in name.split(", ")}
    assert labels <= {label for _, pairs in samples(broker) for label, _ in pairs}
