# SPDX-License-Identifier: Apache-2.0
"""The configuration: --check-config, FILE:LINE, the directories, reload that keeps the old one."""

import errno
import os
import signal
import socket
import subprocess

import pki
import pytest

from broker import DAEMON, GRANT_ALL, ME, Failure, wait_until


SO_PEERSEC = 31


def check(broker, *arguments):
    return subprocess.run([str(DAEMON), "--config", str(broker.config), "--check-config", *arguments],
                          env=broker.environment(), capture_output=True, text=True, check=False, timeout=30)


def line_of(broker, text):
    for number, line in enumerate(broker.config.read_text().splitlines(), 1):
        if text in line:
            return number
    raise AssertionError(text)


def test_good(stopped):
    done = check(stopped)
    assert (done.returncode, done.stderr) == (0, "")


def test_everything_that_the_contract_shows(stopped):
    stopped.config.write_text("""
broker = {
  state-directory = "/var/lib/certbroker";
  runtime-directory = "/run/certbroker";
  bus = "system";
  audit-log = "/var/lib/certbroker/audit.jsonl";
  audit-sync = "100ms";
  audit-failure = "refuse";
  audit-max-size = "1GiB";
  rotation-grace = "24h";
  expiry-warnings = [ "30d", "7d", "1d" ];
  max-in-flight-per-client = 64;
  request-timeout = "20s";
  verify-signatures = "rsa";
};
source = {
  hsm = { driver = "pkcs11"; uri = "pkcs11:token=prod"; module = "/usr/lib/softhsm/libsofthsm2.so";
          pin-file = "hsm-pin"; sessions = 8; };
  vault = { driver = "azure-key-vault"; uri = "https://contoso.vault.azure.net"; auth = "managed-identity";
            client-id = "x"; refresh = "4h"; max-stale = "7d"; signing = "remote";
            imds-endpoint = "http://169.254.169.254"; };
};
grant = {
  orders-gateway = {
    user = "root"; allow = [ "use" ]; certificate = [ "orders-*" ]; backend = [ "orders*" ];
    algorithm = [ "ecdsa-sha256", "rsa-pss-sha256" ]; rate = "500/s"; burst = 1000; };
};
""")
    done = check(stopped)
    assert (done.returncode, done.stderr) == (0, ""), "outside of the unit nothing is known of its credentials"


def test_started_without_its_credentials(stopped):
    stopped.config.write_text(stopped.config.read_text().replace(f'"{stopped.pin_file}"', '"hsm-pin"'))
    stopped.start(ready=None)
    place = f"{stopped.config}:{line_of(stopped, 'hsm-pin')}: "
    assert any(place in line and "CREDENTIALS_DIRECTORY" in line for line in stopped.log_text().splitlines())


def labels_are_told():
    a, b = socket.socketpair()
    with a, b:
        try:
            a.getsockopt(socket.SOL_SOCKET, SO_PEERSEC, 256)
        except OSError as error:
            return error.errno != errno.ENOPROTOOPT
    return True


def test_label_that_no_kernel_tells(stopped):
    stopped.configure(grants=GRANT_ALL.format(me=ME).replace("user =", 'label = "unconfined"; user =', 1))
    done = check(stopped)
    assert done.returncode == 0
    assert ("label 'unconfined' can never match" in done.stderr) == (not labels_are_told())


def test_file_that_the_daemon_may_not_read(stopped, root):
    """Root, who checks, reads everything; a reload would fail."""
    fragment = stopped.etc / "conf.d" / "more.conf"
    fragment.parent.mkdir(exist_ok=True)
    fragment.write_text("")
    os.chown(stopped.state, 2, 2)
    fragment.chmod(0o600)
    done = check(stopped)
    assert done.returncode == 0
    assert f"chmod 0644 {fragment}" in done.stderr
    for group, mode in ((2, 0o640), (0, 0o644)):
        os.chown(fragment, 0, group)
        fragment.chmod(mode)
        assert check(stopped).stderr == ""


def test_two_groups_of_one_name(stopped):
    with stopped.config.open("a") as config:
        config.write('grant = { another = { user = "root"; allow = "read"; certificate = "*"; }; };\n')
    done = check(stopped)
    assert done.returncode == 78
    assert "conf.d" in done.stderr


MISTAKES = {
    # what is written wrong: in which group, the setting
    "an unknown setting": ("broker", 'colour = "red";'),
    "a wrong type": ("broker", "max-in-flight-per-client = \"many\";"),
    "zero": ("broker", "max-in-flight-per-client = 0;"),
    "a duration without unit": ("broker", 'request-timeout = "20";'),
    "a duration of nonsense": ("broker", 'request-timeout = "soon";'),
    "a negative duration": ("broker", 'request-timeout = "-1s";'),
    "a word that is none of the choices": ("broker", 'verify-signatures = "sometimes";'),
    "a relative directory": ("broker", 'audit-log = "audit.jsonl";'),
    "an unknown driver": ("source", 'x = { driver = "floppy"; };'),
    "no driver": ("source", 'x = { uri = "pkcs11:token=x"; };'),
    "another source's setting": ("source", 'x = { driver = "pkcs11"; uri = "pkcs11:token=x"; tenant-id = "y"; };'),
    "a uri that is none": ("source", 'x = { driver = "pkcs11"; uri = "http://x"; };'),
    "a uri with a PIN": ("source", 'x = { driver = "pkcs11"; uri = "pkcs11:token=x?pin-value=1234"; };'),
    "a uri of a key": ("source", 'x = { driver = "pkcs11"; uri = "pkcs11:token=x;object=y"; };'),
    "a uri with a library": ("source", 'x = { driver = "pkcs11"; uri = "pkcs11:token=x?module-path=/x"; };'),
    "an operation that is none": ("grant", 'x = { user = "root"; allow = "everything"; certificate = "*"; };'),
    "no user": ("grant", 'x = { allow = "use"; certificate = "*"; };'),
    "only a unit": ("grant", 'x = { unit = "nginx.service"; allow = "use"; certificate = "*"; };'),
    "an algorithm that is none": ("grant", 'x = { user = "root"; allow = "use"; algorithm = "rot13"; };'),
    "a rate of nonsense": ("grant", 'x = { user = "root"; allow = "use"; rate = "fast"; };'),
    "no operation": ("grant", 'x = { user = "root"; certificate = "*"; };'),
}


@pytest.mark.parametrize("what", list(MISTAKES))
def test_mistakes(stopped, what):
    """Each is told with its file and line, by --check-config as by a start, which ends with 78."""
    group, text = MISTAKES[what]
    stopped.configure(broker=f"  {text}" if group == "broker" else "",
                      sources=stopped.source() + (f"  {text}\n" if group == "source" else ""),
                      grants=GRANT_ALL.format(me=ME) + (f"  {text}\n" if group == "grant" else ""))
    done = check(stopped)
    assert done.returncode == 78, (what, done.returncode, done.stderr)
    assert f"{stopped.config}:{line_of(stopped, text)}: " in done.stderr, done.stderr
    assert "1234" not in done.stderr
    daemon = stopped.spawn()
    assert daemon.wait(10) == 78
    assert f"{stopped.config}:{line_of(stopped, text)}: " in stopped.log_text()


def test_syntax_error(stopped):
    stopped.config.write_text("broker = {\n  bus = \"system\";\n  state-directory = ;\n};\n")
    done = check(stopped)
    assert done.returncode == 78
    assert f"{stopped.config}:3: " in done.stderr


def test_missing_file(stopped):
    stopped.config.unlink()
    done = check(stopped)
    assert done.returncode == 78
    assert str(stopped.config) in done.stderr


def refused_everywhere(broker, culprit, remedy, line=None):
    """Not taken by --check-config nor by a start: both name the file, where that is said, and what to do."""
    place = f"{broker.config}:{line}: " if line else ""
    done = check(broker)
    assert done.returncode == 78, done.stderr
    daemon = broker.spawn()
    assert daemon.wait(10) == 78
    for text in done.stderr, broker.log_text():
        assert f"{place}" in text and f"{culprit}: " in text and f"; {remedy} {culprit}" in text, text


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_configuration_that_others_may_write(stopped, mode):
    stopped.config.chmod(mode)
    refused_everywhere(stopped, stopped.config, "chmod go-w")
    stopped.config.chmod(0o640)
    assert check(stopped).returncode == 0


def test_configuration_of_another_user(stopped, root):
    os.chown(stopped.config, 65534, 0)
    refused_everywhere(stopped, stopped.config, "chown root")


def test_configuration_below_a_folder_of_others(stopped, root):
    """Whoever may rename a folder or a link on the way decides what is read."""
    stopped.etc.chmod(0o777)
    refused_everywhere(stopped, stopped.etc, "chmod go-w")
    stopped.etc.chmod(0o1777)
    refused_everywhere(stopped, stopped.etc, "use another folder than")
    stopped.etc.chmod(0o755)
    os.chown(stopped.etc, 65534, 0)
    refused_everywhere(stopped, stopped.etc, "chown root")
    os.chown(stopped.etc, 0, 0)
    moved = stopped.folder / "moved"
    stopped.config.rename(moved)
    stopped.config.symlink_to(moved)
    assert check(stopped).returncode == 0
    os.chown(stopped.config, 65534, 0, follow_symlinks=False)
    refused_everywhere(stopped, stopped.config, "chown -h root")


def test_conf_d_of_others(stopped, root):
    """Who may put a file there may grant anything to anyone."""
    conf_d = stopped.etc / "conf.d"
    conf_d.mkdir()
    fragment = conf_d / "10.conf"
    fragment.write_text('grant = { all = { user = "nobody"; allow = "manage"; certificate = "*"; }; };\n')
    conf_d.chmod(0o777)
    refused_everywhere(stopped, conf_d, "chmod go-w")
    conf_d.chmod(0o755)
    os.chown(conf_d, 65534, 0)
    refused_everywhere(stopped, conf_d, "chown root")
    os.chown(conf_d, 0, 0)
    fragment.chmod(0o666)
    refused_everywhere(stopped, fragment, "chmod go-w")
    fragment.chmod(0o644)
    os.chown(fragment, 65534, 0)
    refused_everywhere(stopped, fragment, "chown root")
    fragment.unlink()
    fragment.symlink_to("/dev/null")
    assert check(stopped).returncode == 78
    fragment.unlink()
    os.mkfifo(fragment)  # and nobody who would write to it
    assert check(stopped).returncode == 78
    fragment.unlink()
    assert check(stopped).returncode == 0


def test_include(stopped):
    """What libconfig would open by itself is in no folder that was looked at."""
    other = stopped.folder / "other.conf"
    other.write_text('grant = { };\n')
    stopped.config.write_text(stopped.config.read_text() + f'@include "{other}"\n')
    done = check(stopped)
    assert done.returncode == 78
    assert f"{stopped.config}:{line_of(stopped, '@include')}: " in done.stderr and "conf.d" in done.stderr


NAMED = {
    # a setting that names a file: the source without it, then a mode that is refused and one that is not
    "module": ('driver = "pkcs11"; uri = "pkcs11:token=x";', 0o666, 0o755),
    "pin-file": ('driver = "pkcs11"; uri = "pkcs11:token=x";', 0o644, 0o640),
    "ca-file": ('driver = "azure-key-vault"; uri = "https://x";', 0o664, 0o644),
    "client-secret-file": ('driver = "azure-key-vault"; uri = "https://x";', 0o604, 0o400),
    "token-file": ('driver = "azure-key-vault"; uri = "https://x";', 0o646, 0o644),
}


@pytest.mark.parametrize("setting", list(NAMED))
def test_files_that_a_source_names(stopped, root, setting):
    others, bad, good = NAMED[setting]
    folder = stopped.folder / "named"
    folder.mkdir()
    file = folder / "file"
    file.write_text("1234")
    file.chmod(good)
    stopped.configure(sources=f'x = {{ {others}\n  {setting} = "{file}"; }};')
    assert check(stopped).returncode == 0
    line = line_of(stopped, str(file))
    file.chmod(bad)
    refused_everywhere(stopped, file, "chmod go-w" if bad & 0o022 else "chmod o-rwx", line)
    file.chmod(good)
    os.chown(file, 65534, 0)
    refused_everywhere(stopped, file, "chown root", line)
    os.chown(file, 0, 0)
    folder.chmod(0o777)
    refused_everywhere(stopped, folder, "chmod go-w", line)
    folder.chmod(0o755)
    file.rename(stopped.folder / "elsewhere")
    os.mkfifo(file)
    assert check(stopped).returncode == 78
    file.unlink()
    assert check(stopped).returncode == 0  # the source says that it is missing


def test_reload_of_files_of_others(broker, refused):
    """The old configuration stays in force, and what it has goes on."""
    broker.import_new("client")
    conf_d = broker.etc / "conf.d"
    conf_d.mkdir(mode=0o755)
    conf_d.chmod(0o777)
    assert f"chmod go-w {conf_d}" in refused("InvalidArgument", broker.manager, "Reload")
    conf_d.chmod(0o755)
    broker.pin_file.chmod(0o644)
    assert f"chmod o-rwx {broker.pin_file}" in refused("InvalidArgument", broker.manager, "Reload")
    broker.sign("client", "ecdsa-sha256", bytes(32))
    broker.pin_file.chmod(0o600)
    broker.manager("Reload")


def test_check_by_another_user(stopped, root):
    """A user who may read the configuration can have it checked, without a look at the secrets; root checks for the
    user that the state directory belongs to."""
    secrets = stopped.folder / "secrets"
    secrets.mkdir()
    secret = secrets / "pin"
    secret.touch(0o400)
    os.chown(secret, 1, 1)
    secrets.chmod(0o700)
    os.chown(secrets, 1, 1)
    stopped.configure(sources=stopped.source(**{"pin-file": f'"{secret}"'}))
    assert "belongs to user 1" in check(stopped).stderr
    os.chown(stopped.state, 1, 1)
    done = check(stopped)
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(DAEMON), "--config",
                           str(stopped.config), "--check-config"], env=stopped.environment(), capture_output=True,
                          text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    assert f"{secret} cannot be looked at by user 65534" in done.stderr


def test_check_for_the_user_of_a_configured_directory(stopped, root):
    """The state directory is named by the configuration itself, after the source, and not by the environment."""
    os.chown(stopped.pin_file, 1, 1)
    stopped.configure(sources=stopped.source())
    text = stopped.config.read_text()
    first, last = text.index("broker = {"), text.index("};", text.index("broker = {")) + 2
    stopped.config.write_text(text[:first] + text[last:] + text[first:last] + "\n")
    assert "belongs to user 1" in check(stopped).stderr
    os.chown(stopped.state, 1, 1)
    done = check(stopped)
    assert (done.returncode, done.stderr) == (0, "")
    # and so for who asks the command line about it
    assert stopped.cli("policy", "list", "--config", str(stopped.config)).returncode == 0
    # the configuration cannot speak for itself
    os.chown(stopped.config, 1, 1)
    assert "belongs to user 1" in check(stopped).stderr


def test_secrets_of_the_daemons_group(stopped, root):
    """Of root, and for the daemon's group to read: whoever checks is in another group than the daemon."""
    stopped.pin_file.chmod(0o640)
    os.chown(stopped.pin_file, 0, 1)
    stopped.configure(sources=stopped.source())
    assert f"chmod g-rwx {stopped.pin_file}" in check(stopped).stderr
    os.chown(stopped.state, 1, 1)
    done = check(stopped)
    assert (done.returncode, done.stderr) == (0, "")
    os.chown(stopped.pin_file, 0, 2)
    assert f"chmod g-rwx {stopped.pin_file}" in check(stopped).stderr


@pytest.mark.parametrize("setting", list(NAMED))
def test_files_that_others_could_make(stopped, setting):
    """Not there when the configuration is read, in a folder where anybody may put it before it is used."""
    shared = stopped.folder / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    for name in (shared / "missing", shared / "folder/missing"):
        stopped.configure(sources=f'x = {{ {NAMED[setting][0]}\n  {setting} = "{name}"; }};')
        refused_everywhere(stopped, shared, "use another folder than", line_of(stopped, str(name)))
    shared.chmod(0o755)
    assert check(stopped).returncode == 0


def test_unknown_user_is_told(stopped):
    """A grant for a user that does not exist can never match: reported, with the line."""
    stopped.configure(grants='  x = { user = "no-such-user"; allow = "use"; certificate = "*"; };\n')
    done = check(stopped)
    assert f"{stopped.config}:{line_of(stopped, 'no-such-user')}" in done.stderr


def test_conf_d_in_byte_order(stopped):
    conf_d = stopped.etc / "conf.d"
    conf_d.mkdir()
    (conf_d / "20-b.conf").write_text('grant = { two = { user = "root"; allow = "nothing"; }; };\n')
    (conf_d / "10-a.conf").write_text('\ngrant = { one = { user = "root"; allow = "nothing"; }; };\n')
    (conf_d / "00-ignored.txt").write_text("nonsense")
    done = check(stopped)
    assert done.returncode == 78
    assert f"{conf_d}/10-a.conf:2: " in done.stderr
    (conf_d / "10-a.conf").unlink()
    assert f"{conf_d}/20-b.conf:1: " in check(stopped).stderr
    (conf_d / "20-b.conf").write_text('grant = { everything = { user = "root"; allow = "read"; }; };\n')
    done = check(stopped)  # the name of a grant that is there already
    assert done.returncode == 78 and "everything" in done.stderr
    (conf_d / "20-b.conf").write_text('source = { two = { driver = "pkcs11"; uri = "pkcs11:token=two"; }; };\n')
    assert check(stopped).returncode == 0
    stopped.start()
    assert stopped.source_properties("two")["Uri"] == "pkcs11:token=two"


def test_usage(stopped):
    for arguments, status in (([], None), (["--help"], 0), (["--version"], 0), (["--colour"], 64),
                              (["--config"], 64), (["extra"], 64), (["--bus"], 64)):
        if status is None:
            continue
        done = subprocess.run([str(DAEMON), *arguments], env=stopped.environment(), capture_output=True, text=True,
                              check=False, timeout=30)
        assert done.returncode == status, (arguments, done)
        assert (done.stdout if status == 0 else done.stderr).strip()
    assert "certbrokerd" in subprocess.run([str(DAEMON), "--version"], capture_output=True, text=True, check=True,
                                           env=stopped.environment()).stdout


def test_bus_that_is_not_there(stopped):
    stopped.stop_bus()
    daemon = stopped.spawn()
    assert daemon.wait(20) == 69


def test_bus_in_the_configuration(stopped):
    stopped.configure(broker=f'  bus = "{stopped.bus_address}";')
    daemon = subprocess.Popen([str(DAEMON), "--config", str(stopped.config)], env=stopped.environment(),
                              stderr=subprocess.DEVNULL)
    wait_until(lambda: stopped.connection.name_has_owner("org.certbroker1"), "the name")
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(10) == 0


def test_reload_keeps_the_old_one(broker, refused):
    broker.import_new("client")
    old = broker.config.read_text()
    broker.config.write_text(old.replace('"use"', '"usage"'))
    message = refused("InvalidArgument", broker.manager, "Reload")
    assert f"{broker.config}:{line_of(broker, 'usage')}" in message
    broker.sign("client", "ecdsa-sha256", bytes(32))
    broker.config.write_text("nonsense")
    refused("InvalidArgument", broker.manager, "Reload")
    broker.config.unlink()
    refused("InvalidArgument", broker.manager, "Reload")
    broker.sign("client", "ecdsa-sha256", bytes(32))
    assert broker.source_properties("hsm")["State"] == "ready"
    broker.config.write_text(old)
    broker.manager("Reload")
    broker.sign("client", "ecdsa-sha256", bytes(32))


def test_reload_leaves_sources_undisturbed(broker):
    pids = broker.helper_pids()
    broker.configure(broker='  rotation-grace = "1h";')
    broker.manager("Reload")
    assert broker.helper_pids() == pids
    broker.configure(sources=broker.source(sessions="3"))
    broker.manager("Reload")
    wait_until(lambda: broker.helper_pids() and broker.helper_pids() != pids, "a new process")
    broker.wait_source("hsm", "ready")
    broker.import_new("client")


def test_sighup(broker):
    broker.import_new("client")
    broker.configure(grants="")
    broker.daemon.send_signal(signal.SIGHUP)

    def denied():
        try:
            broker.sign("client", "ecdsa-sha256", bytes(32))
            return False
        except Failure as failure:
            assert failure.name == "NotFound"
            return True

    wait_until(denied, "the grant is gone")
    good = GRANT_ALL.format(me=ME)
    broker.configure(grants=good.replace('"use"', '"usage"'))
    broker.daemon.send_signal(signal.SIGHUP)
    wait_until(lambda: f"{broker.config}:{line_of(broker, 'usage')}" in broker.log_text(), "the complaint")
    broker.configure(grants=good)
    broker.daemon.send_signal(signal.SIGHUP)
    wait_until(lambda: not denied(), "the grant is back")


def test_reloads_under_load(broker):
    """A hundred, as fast as they can be asked for, while somebody signs: no signature fails, no source is started anew."""
    broker.import_new("client")
    pids = broker.helper_pids()
    n_before = broker.log_text().count("read again")
    for _ in range(100):
        broker.daemon.send_signal(signal.SIGHUP)
        broker.sign("client", "ecdsa-sha256", bytes(32))
    wait_until(lambda: broker.log_text().count("read again") > n_before + 10, "reloads")
    broker.manager("Reload")
    assert broker.helper_pids() == pids
    broker.sign("client", "ecdsa-sha256", bytes(32))


def test_directories_from_the_environment(stopped):
    state, runtime = stopped.folder / "s", stopped.folder / "r"
    state.mkdir(mode=0o755)
    runtime.mkdir()
    stopped.extra_environment.update(STATE_DIRECTORY=str(state), RUNTIME_DIRECTORY=str(runtime))
    text = stopped.config.read_text()
    stopped.config.write_text("\n".join(line for line in text.splitlines() if "-directory" not in line))
    stopped.start()
    assert list(state.glob("*.sqlite"))
    assert state.stat().st_mode & 0o777 == 0o700
    assert str(runtime) in stopped.get("/org/certbroker1", "Manager", "ChannelAddress")


def test_sigterm_finishes_what_is_in_flight(broker):
    """A request that is under way when SIGTERM comes is answered."""
    import threading
    cert = broker.import_new("client", "rsa-4096")
    results = []

    def work():
        connection = broker.connect()
        for _ in range(500):
            try:
                signature = broker.sign("client", "rsa-pss-sha256", pki.digest("rsa-pss-sha256", b"m"),
                                        connection=connection)
                pki.verify(cert.public_key(), "rsa-pss-sha256", signature, b"m")
            except Failure as failure:
                results.append(failure.full_name)
                return

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    import time
    time.sleep(0.3)
    broker.stop()
    for thread in threads:
        thread.join(20)
    # the calls after it went unanswered by us: the bus says that there is nobody any more
    assert results and set(results) <= {"org.freedesktop.DBus.Error.ServiceUnknown",
                                        "org.freedesktop.DBus.Error.NameHasNoOwner",
                                        "org.certbroker1.Error.SourceUnavailable"}, results


def test_the_runtime_directory_leaves_room_for_the_socket(stopped):
    """Where the channel's name would be too long for a socket, the configuration is wrong, not the daemon."""
    def runtime_of(length):
        stopped.runtime = stopped.folder / ("r" * (length - len(str(stopped.folder)) - 1))
        stopped.configure()

    runtime_of(91)
    done = check(stopped)
    assert done.returncode == 78
    assert f"{stopped.config}:{line_of(stopped, 'runtime-directory')}: 'runtime-directory' has more than 90" in done.stderr
    assert stopped.spawn().wait(10) == 78
    text = stopped.config.read_text()
    stopped.config.write_text("\n".join(line for line in text.splitlines() if "runtime-directory" not in line))
    done = subprocess.run([str(DAEMON), "--config", str(stopped.config), "--check-config"], check=False,
                          env=stopped.environment(RUNTIME_DIRECTORY=stopped.runtime), capture_output=True, text=True)
    assert done.returncode == 78
    assert "$RUNTIME_DIRECTORY has more than 90" in done.stderr
    runtime_of(90)
    assert check(stopped).returncode == 0
    stopped.start()
    assert str(stopped.runtime) in stopped.get("/org/certbroker1", "Manager", "ChannelAddress")
