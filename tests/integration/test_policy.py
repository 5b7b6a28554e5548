# SPDX-License-Identifier: Apache-2.0
"""What is shipped for a real host: the bus policy on a bus that is set up like the system's, unit, sysusers, tmpfiles."""

import pathlib
import re
import subprocess

import dbus
import pki
import pytest

from conftest import Signals

from broker import BUILD, CLI, DAEMON, GRANT_ALL, INTROSPECTABLE, ME, NAME, PEER, ROOT, Failure, certificate_path, memfd, \
    source_path

POLICY = pathlib.Path(__file__).resolve().parents[2] / "policy"
DENIED = "org.freedesktop.DBus.Error.AccessDenied"

# Debian's /usr/share/dbus-1/system.conf, in what matters here.
SYSTEM_BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={folder}/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Introspectable"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Properties"/>
  </policy>
  <includedir>{folder}/system.d</includedir>
</busconfig>
"""


@pytest.fixture
def system(stopped, root):
    """A broker on a bus like the system's; root stands in for the user `certbroker`, whom this host may not have."""
    stopped.stop_bus()
    (stopped.folder / "bus").unlink(missing_ok=True)
    included = stopped.folder / "system.d"
    included.mkdir()
    text = (POLICY / "org.certbroker1.conf").read_text()
    assert text.count('user="certbroker"') == 1
    (included / "org.certbroker1.conf").write_text(text.replace('user="certbroker"', 'user="root"'))
    stopped.start_bus(SYSTEM_BUS.format(folder=stopped.folder))
    stopped.configure(grants=GRANT_ALL.format(me=ME) + """
      web = { user = "www-data"; allow = [ "use", "manage" ]; certificate = "*"; backend = "*"; source = "*"; };
    """)
    return stopped.start()


def test_one_user_owns_the_name(system):
    """Nobody else gets it, also when it is free."""
    system.stop()
    script = ("import dbus.bus, sys\n"
              "try:\n"
              "    print(dbus.bus.BusConnection(sys.argv[1]).request_name('org.certbroker1'))\n"
              "except dbus.exceptions.DBusException as e:\n"
              "    print(e.get_dbus_name())\n")

    def request(user):
        return subprocess.run(["setpriv", f"--reuid={user}", "--clear-groups", "/usr/bin/python3", "-c", script,
                               system.bus_address], capture_output=True, text=True, check=True,
                              cwd="/").stdout.strip()

    assert request("www-data") == request("nobody") == DENIED
    assert request("root") == "1"


def test_everyone_may_call(system):
    system.import_new("client")
    system.create_backend("orders", "client")
    from test_grants import credential, get, sign, words
    assert words(system.as_user("www-data", sign("client"), credential("orders"), get("client"))) == ["ok"] * 3
    # the bus lets it through; the broker says that there is no such thing
    [answer] = system.as_user("nobody", sign("client"))
    assert answer["error"] == "org.certbroker1.Error.NotFound"
    [answer] = system.as_user("nobody", [ROOT, PEER, "Ping", ""])
    assert "error" not in answer


def test_signals_arrive(system):
    seen = Signals(system)
    system.import_new("client")
    seen.wait("InterfacesAdded")


def test_the_bus_tells_what_is_not_read(system):
    """To certbrokerd, which asks after so much."""
    for _ in range(200):
        assert system.call(ROOT, INTROSPECTABLE, "Introspect")
    assert "does not answer org.freedesktop.DBus.Debug.Stats" not in system.log_text()


def test_descriptors_only_to_the_management_interfaces(system):
    cert = system.import_new("client")  # two to the manager
    system.create_backend("orders", "client")
    fd = dbus.types.UnixFd(memfd(b"x"))

    def fails_with(path, interface, n):
        with pytest.raises(Failure) as caught:
            system.call(path, interface, "Nonsense", "h" * n, *[fd] * n)
        return caught.value.full_name

    unknown = "org.freedesktop.DBus.Error.UnknownMethod"
    for path, interface, most in ((ROOT, "org.certbroker1.Manager", 2),
                                  (certificate_path("client"), "org.certbroker1.Certificate", 1),
                                  (source_path("hsm"), "org.certbroker1.Source", 1),
                                  ("/org/certbroker1/backend/orders", "org.certbroker1.Backend", 0),
                                  (ROOT, PEER, 0), (ROOT, "org.freedesktop.DBus.Properties", 0),
                                  (ROOT, "org.freedesktop.DBus.ObjectManager", 0)):
        for n in range(0, 4):
            assert (fails_with(path, interface, n) == DENIED) == (n > most), (interface, n)
    assert fails_with(ROOT, "org.certbroker1.Manager", 0) == unknown
    pki.verify(cert.public_key(), "ecdsa-sha256",
               system.sign("client", "ecdsa-sha256", pki.digest("ecdsa-sha256", b"m")), b"m")


def test_policy_as_it_ships_is_parsed(folder):
    """Unchanged: without a user `certbroker` on this host, dbus-daemon says so, and takes it otherwise."""
    config = folder / "bus.conf"
    config.write_text(SYSTEM_BUS.format(folder=folder).replace(f"{folder}/system.d", str(folder / "d")))
    (folder / "d").mkdir()
    (folder / "d/org.certbroker1.conf").write_text((POLICY / "org.certbroker1.conf").read_text())
    with subprocess.Popen(["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile", "--print-address"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout.readline().startswith("unix:")
        daemon.terminate()
        complaints = daemon.communicate()[1]
    for line in complaints.splitlines():
        if "fd limit" in line:  # a container's
            continue
        assert "certbroker" in line and "nknown" in line, line  # Unknown username "certbroker"


# systemd

@pytest.fixture
def unit(folder):
    """The unit as it is installed, with programs that are there."""
    text = (POLICY / "certbrokerd.service.in").read_text().replace("@bindir@", str(DAEMON.parent))
    path = folder / "certbrokerd.service"
    path.write_text(text)
    return path


def test_unit_is_understood(unit):
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_unit_is_hardened(unit):
    """systemd's own score, times ten; what it still counts is explained; and what would blind the broker is not in it."""
    done = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--threshold=15", "--no-pager", unit],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    reasons = re.findall(r"^#   (\w+=\S*): ", unit.read_text(), re.MULTILINE) + ["PrivateNetwork=", "IPAddressDeny="]
    counted = {line.split()[1].split("~")[0] for line in done.stdout.splitlines() if line.startswith("✗")}
    assert counted == set(reasons), counted ^ set(reasons)
    settings = dict(line.split("=", 1) for line in unit.read_text().splitlines() if re.match(r"\w+=", line))
    assert "PrivateUsers" not in settings
    assert settings.get("ProtectProc", "default") == "default"
    assert settings["Type"] == "notify"
    assert settings["RuntimeDirectoryMode"] == "0755"
    assert settings["RestartPreventExitStatus"] == "64 78"


def test_unit_never_stays_down(unit):
    """However often, and however, somebody ends it; and what is short of memory or of threads is bounded."""
    settings = dict(line.split("=", 1) for line in unit.read_text().splitlines() if re.match(r"\w+=", line))
    assert settings["StartLimitIntervalSec"] == "0"
    assert settings["Restart"] == "always"
    assert "78" in settings["RestartPreventExitStatus"].split()  # a configuration does not get right by itself
    assert 0 < int(settings["WatchdogSec"]) <= 60
    assert {"MemoryMax", "TasksMax", "LimitNOFILE"} <= set(settings)
    assert settings["OOMPolicy"] == "continue" and int(settings["OOMScoreAdjust"]) < 0


def test_clients_can_tell_a_restart_from_a_stop(unit):
    """By the runtime directory (see test_newcomer); and what comes after the unit comes after its sources' answers."""
    settings = dict(line.split("=", 1) for line in unit.read_text().splitlines() if re.match(r"\w+=", line))
    assert settings["RuntimeDirectoryPreserve"] == "restart"
    assert re.search(r" --wait-for-sources [1-9]$", settings["ExecStart"])
    assert {"nginx.service", "haproxy.service", "apache2.service", "stunnel4.service", "postfix.service",
            "dovecot.service"} <= set(settings["Before"].split())


def test_watch_unit_is_understood_and_hardened(folder):
    """As it is made: of a gateway's files it has no more than the right to write its own folder."""
    path = folder / "certbroker-watch@nginx.service"
    path.write_bytes((BUILD / "policy/certbroker-watch@.service").read_bytes().replace(
        re.search(rb"ExecStart=(\S+)", (BUILD / "policy/certbroker-watch@.service").read_bytes())[1], str(CLI).encode()))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", path], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    done = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--threshold=15", "--no-pager", path],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "\nUser=certbroker-watch\n" in path.read_text()


def test_each_gateway_has_its_examples():
    """A drop-in and the watcher's settings, with no place left to be filled in; and polkit knows its unit."""
    made = BUILD / "policy/examples"
    rule = (POLICY / "certbroker-watch.rules").read_text()
    for gateway in ("nginx", "haproxy", "apache2", "stunnel4", "postfix", "dovecot"):
        settings = dict(line.split("=", 1) for line in (made / f"watch-{gateway}").read_text().splitlines()
                        if re.match(r"[A-Z]+=", line))
        assert set(settings) == {"BACKEND", "CHAIN", "KEY", "OPTIONS", "GATEWAY"}
        assert f'"{settings["GATEWAY"]}"' in rule
        drop_in = (made / f"{settings['GATEWAY']}.conf").read_text()
        assert "After=certbrokerd.service" in drop_in and "@datadir@" not in drop_in


def test_apparmor_profile_is_understood():
    """By its parser, without a warning; the kernel need not have it."""
    profile = BUILD / "policy/usr.bin.certbrokerd"
    done = subprocess.run(["apparmor_parser", "--skip-kernel-load", "--skip-cache", profile],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if "interface file missing" not in line]
    assert not told, told
    names = subprocess.run(["apparmor_parser", "--names", profile], capture_output=True, text=True, check=True).stdout
    assert names.split() == ["certbrokerd"]


def test_sysusers_and_tmpfiles(folder):
    done = subprocess.run(["systemd-sysusers", "--dry-run", POLICY / "certbroker.sysusers"], capture_output=True,
                          text=True, check=True)
    assert "certbroker" in done.stdout + done.stderr or not done.stderr
    root = folder / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("certbroker:x:990:990::/:/bin/false\n")
    (root / "etc/group").write_text("certbroker:x:990:\n")
    subprocess.run(["systemd-tmpfiles", "--create", f"--root={root}", POLICY / "certbroker.tmpfiles"], check=True,
                   capture_output=True)
    for path, mode in (("var/lib/certbroker", 0o700), ("run/certbroker", 0o755)):
        assert (root / path).stat().st_mode & 0o777 == mode


def test_shipped_configuration_is_right(folder):
    """As it is, and with its examples uncommented."""
    text = (POLICY / "certbroker.conf").read_text()
    uncommented = re.sub(r"^(\s*)# (?=[a-z-]+ = |\};|  [a-z-]+ = )", r"\1", text, flags=re.MULTILINE)
    assert uncommented.count("orders-gateway = {") == text.count("# orders-gateway = {") == 1
    for name, content in (("as-shipped", text), ("uncommented", uncommented)):
        (folder / name).mkdir()
        path = folder / name / "certbroker.conf"
        path.write_text(content)
        done = subprocess.run([str(DAEMON), "--config", str(path), "--check-config"], capture_output=True, text=True,
                              check=False)
        assert done.returncode == 0, (done.stderr, content)
        assert re.sub(r".*: label '.*' can never match: .*\n", "", done.stderr) == "", "a kernel may have no labels"
    assert NAME


def test_every_setting_is_in_the_shipped_configuration():
    """What certbroker.conf(5) describes has its example there."""
    manual = (POLICY.parent / "docs/man/certbroker.conf.5.scd").read_text()
    described = {name for line in re.findall(r"^(?:\*[a-z-]+\*(?:, )?)+$", manual, flags=re.MULTILINE)
                 for name in re.findall(r"[a-z-]+", line)}
    assert {"audit-sync", "client-secret-file", "burst"} <= described
    shown = set(re.findall(r"^[ #]*([a-z-]+) = ", (POLICY / "certbroker.conf").read_text(), flags=re.MULTILINE))
    assert described <= shown, described - shown
    for operation in ("read", "tls", "use", "decrypt", "export", "manage"):
        assert re.search(rf"^#.* {operation} ", (POLICY / "certbroker.conf").read_text(), flags=re.MULTILINE)
