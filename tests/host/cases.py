# SPDX-License-Identifier: Apache-2.0
"""What an administrator meets, in the order of his days: each case begins where the one before has left the machine."""

import pathlib
import re
import subprocess
import tempfile

from machine import Failed, until

EXAMPLES = "/usr/share/certbroker/examples"
PKI = "/root/pki"
PIN = "4711"

SOURCE = f"""source = {{
  hsm = {{
    driver = "pkcs11";
    uri = "pkcs11:token=prod";
    module = "/usr/lib/softhsm/libsofthsm2.so";
    pin-file = "/etc/certbroker/secrets/hsm-pin";
  }};
}};
"""
GRANTS = """grant = {
  root-looks = { user = "root"; allow = [ "tls" ]; certificate = [ "orders" ]; backend = [ "orders" ]; };
  nginx = { user = "www-data"; unit = "nginx.service"; allow = [ "use" ]; certificate = [ "orders" ]; };
  haproxy = { user = "haproxy"; unit = "haproxy.service"; allow = [ "use" ]; certificate = [ "orders" ]; };
  apache = { user = "www-data"; unit = "apache2.service"; allow = [ "use" ]; certificate = [ "orders" ]; };
  stunnel = { user = "stunnel4"; unit = "stunnel4.service"; allow = [ "use" ]; certificate = [ "orders" ]; };
  postfix = { user = "postfix"; unit = "postfix@-.service"; allow = [ "use" ]; certificate = [ "orders" ]; };
  dovecot = { user = "dovenull"; unit = "dovecot.service"; allow = [ "use" ]; certificate = [ "orders" ]; };
  watch = { user = "certbroker-watch"; unit = "certbroker-watch@nginx.service"; allow = [ "tls" ];
            certificate = [ "orders" ]; backend = [ "orders" ]; };
};
"""
SOFTHSM = """directories.tokendir = /var/lib/certbroker/tokens
objectstore.backend = file
log.level = ERROR
slots.mechanisms = ALL
"""
# The backend, which asks for a certificate and tells whose it was, and the gateway before it.
BACKEND = f"""server {{
    listen 127.0.0.1:8443 ssl;
    ssl_certificate {PKI}/server.crt; ssl_certificate_key {PKI}/server.key;
    ssl_client_certificate {PKI}/ca.crt; ssl_verify_client on;
    return 200 "$ssl_client_s_dn\\n";
}}
"""
GATEWAY = """server {
    listen 127.0.0.1:80;
    location / { proxy_pass https://localhost:8443; proxy_ssl_session_reuse off; %s }
}
"""
BY_HAND = f"""proxy_ssl_certificate /etc/nginx/orders.crt; proxy_ssl_certificate_key /etc/nginx/orders.key;
    proxy_ssl_trusted_certificate {PKI}/ca.crt; proxy_ssl_verify on; proxy_ssl_name localhost;"""
WATCHED = "include /var/lib/certbroker-watch/nginx/orders.conf;"
HAPROXY = f"""global
    chroot /var/lib/haproxy
    user haproxy
    group haproxy
    stats socket /run/haproxy/admin.sock mode 660 level admin
defaults
    mode http
    timeout connect 5s
    timeout client 20s
    timeout server 20s
frontend in
    bind 127.0.0.1:81
    default_backend orders
backend orders
    server orders localhost:8443 ssl verify required ca-file {PKI}/ca.crt crt /etc/haproxy/orders.pem no-ssl-reuse
"""
APACHE = """Listen 127.0.0.1:8444
<VirtualHost 127.0.0.1:8444>
    SSLEngine on
    SSLCertificateFile /etc/nginx/orders.crt
    SSLCertificateKeyFile /etc/nginx/orders.key
</VirtualHost>
"""
STUNNEL = """setuid = stunnel4
setgid = stunnel4
pid = /var/run/stunnel4/orders.pid
[orders]
accept = 127.0.0.1:8445
connect = 127.0.0.1:80
cert = /etc/nginx/orders.crt
key = /etc/nginx/orders.key
"""
DOVECOT = """protocols = imap
listen = 127.0.0.1
ssl = yes
ssl_cert = </etc/nginx/orders.crt
ssl_key = </etc/nginx/orders.key
"""
BROKEN = "broker = {\n  request-timeout = soon;\n};\n"


# --- what is there before the machine boots

def openssl(place, *arguments):
    subprocess.run(["openssl", *arguments], cwd=place, check=True, capture_output=True)


def make_pki(place):
    openssl(place, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
            "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.crt")
    for name, subject, host in (("server", "localhost", "localhost"), ("one", "orders-1", "orders"),
                                ("two", "orders-2", "orders")):
        openssl(place, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={subject}",
                "-addext", f"subjectAltName=DNS:{host}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl(place, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "20", "-copy_extensions", "copyall", "-out", f"{name}.crt")
        openssl(place, "pkcs12", "-export", "-in", f"{name}.crt", "-inkey", f"{name}.key", "-certfile", "ca.crt",
                "-passout", "pass:", "-out", f"{name}.p12")


def prepare(host):
    with tempfile.TemporaryDirectory() as place:
        make_pki(place)
        for path in pathlib.Path(place).iterdir():
            target = host.upper / f"root/pki/{path.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    (host.upper / "root").chmod(0o700)
    host.write("/root/passphrase", "")
    host.write("/etc/hosts", "127.0.0.1 localhost\n")


# --- words

def require(condition, what):
    if not condition:
        raise Failed(str(what))


def shown(host, name, unit="certbrokerd"):
    return host.get(f"systemctl show -p {name} --value {unit}")


def await_status(host, text):
    until(lambda: shown(host, "StatusText") == text, f"status {text}, not {shown(host, 'StatusText')}")


def fetch(host, port=80):
    return host.run(f"curl -s --max-time 20 http://127.0.0.1:{port}/", check=False).stdout.strip()


def await_answer(host, text, port=80):
    until(lambda: fetch(host, port) == text, f"{text} on port {port}, not {fetch(host, port)}")


def drop_in(host, unit):
    host.run(f"install -D -m 644 {EXAMPLES}/systemd/{unit}.d/certbroker.conf -t /etc/systemd/system/{unit}.d && "
             "systemctl daemon-reload")


def gateway_reads(host, directives):
    host.write("/etc/nginx/conf.d/orders.conf", BACKEND + GATEWAY % directives)


def serves(host, port, *options):
    """A handshake in which the server signs with the certificate that is not in it."""
    done = host.run(f"openssl s_client -connect 127.0.0.1:{port} -CAfile {PKI}/ca.crt -verify_return_error "
                    f"{' '.join(options)} </dev/null", check=False)
    return "subject=CN = orders-" in done.stdout and "Verify return code: 0" in done.stdout


def await_server(host, unit, port, *options):
    """With its drop-in, restarted as the drop-in says."""
    drop_in(host, unit)
    host.run(f"systemctl restart {unit}")
    until(lambda: serves(host, port, *options), f"a handshake with {unit}")


# --- the cases

def install(host):
    """README's commands, on a system that has booted without it."""
    host.wait_booted()
    host.run("systemd-sysusers && systemctl daemon-reload && systemctl reload dbus && "
             "systemctl enable --now certbrokerd")
    await_status(host, "no source is configured, 0 certificates")
    require(shown(host, "WatchdogUSec") == "30s", "the watchdog")
    said = host.run("systemd-analyze verify --man=no certbrokerd.service certbroker-watch@nginx.service")
    mine = [line for line in said.stderr.splitlines() if "certbroker" in line]
    require(not mine, mine)


def source(host):
    """A token of its own, as docs/operations.md has it."""
    host.write("/etc/certbroker/softhsm2.conf", SOFTHSM)
    host.run("install -d -o certbroker -g certbroker -m 700 /var/lib/certbroker/tokens /etc/certbroker/secrets && "
             "SOFTHSM2_CONF=/etc/certbroker/softhsm2.conf setpriv --reuid=certbroker --regid=certbroker --clear-groups "
             f"softhsm2-util --init-token --free --label prod --pin {PIN} --so-pin 12345678 && "
             f"printf {PIN} | install -o certbroker -m 600 /dev/stdin /etc/certbroker/secrets/hsm-pin")
    host.write("/etc/systemd/system/certbrokerd.service.d/token.conf",
               "[Service]\nEnvironment=SOFTHSM2_CONF=/etc/certbroker/softhsm2.conf\n")
    host.write("/etc/certbroker/conf.d/orders.conf", SOURCE + GRANTS)
    host.run("systemctl daemon-reload && systemctl restart certbrokerd")
    require(shown(host, "StatusText") == "1 source ready, 0 certificates", "READY=1 has not waited for the source")


def certificate(host):
    host.run(f"certbroker certificate import orders {PKI}/one.p12 --source hsm --passphrase-file /root/passphrase && "
             "certbroker backend create orders --url https://localhost:8443/ --certificate orders "
             f"--ca-file {PKI}/ca.crt && chmod 755 /root {PKI}")
    await_status(host, "1 source ready, 1 certificate")


def nginx(host):
    """Debian's, by its unit, with the drop-in that ships, for which it has to be restarted once."""
    host.run("certbroker certificate chain orders >/etc/nginx/orders.crt && "
             "certbroker certificate key orders >/etc/nginx/orders.key")
    host.run("rm -f /etc/nginx/sites-enabled/default")
    gateway_reads(host, BY_HAND)
    drop_in(host, "nginx.service")
    host.run("systemctl enable --now nginx && systemctl restart nginx")
    await_answer(host, "CN=orders-1")
    require("www-data" in host.get("ps -o user= -C nginx"), "workers of another user")


def haproxy(host):
    """Likewise, in its chroot."""
    host.run("cat /etc/nginx/orders.crt /etc/nginx/orders.key >/etc/haproxy/orders.pem")
    host.write("/etc/haproxy/haproxy.cfg", HAPROXY)
    drop_in(host, "haproxy.service")
    host.run("systemctl enable --now haproxy && systemctl restart haproxy")
    await_answer(host, "CN=orders-1", 81)


def apache(host):
    host.write("/etc/apache2/ports.conf", APACHE)
    host.run("a2enmod -q ssl && rm -f /etc/apache2/sites-enabled/*")
    await_server(host, "apache2.service", 8444)
    host.run("systemctl stop apache2")


def stunnel(host):
    host.write("/etc/stunnel/orders.conf", STUNNEL)
    await_server(host, "stunnel4.service", 8445)
    host.run("systemctl stop stunnel4")


def postfix(host):
    """In its chroot, by what its master hands on."""
    host.run(f"cat {EXAMPLES}/postfix-main.cf >>/etc/postfix/main.cf && postconf -e inet_interfaces=127.0.0.1 "
             "smtpd_tls_cert_file=/etc/nginx/orders.crt smtpd_tls_key_file=/etc/nginx/orders.key")
    await_server(host, "postfix@-.service", 25, "-starttls", "smtp")
    host.run("systemctl stop postfix")


def dovecot(host):
    """Likewise."""
    host.run(f"install -m 644 {EXAMPLES}/dovecot-certbroker.conf /etc/dovecot/conf.d/99-certbroker.conf")
    host.write("/etc/dovecot/local.conf", DOVECOT)
    await_server(host, "dovecot.service", 993)
    host.run("systemctl stop dovecot")


def watch(host):
    """The watcher's unit has nginx follow a rotation; as its own user, whom polkit lets do that and no more."""
    host.run(f"install -D -m 644 {EXAMPLES}/watch/nginx /etc/certbroker/watch/nginx && "
             "systemctl enable --now certbroker-watch@nginx")
    written = "test -e /var/lib/certbroker-watch/nginx/orders.conf"
    until(lambda: host.run(written, check=False).returncode == 0, "its files")
    gateway_reads(host, WATCHED)
    host.run("systemctl reload nginx")
    await_answer(host, "CN=orders-1")
    host.run(f"certbroker certificate import orders {PKI}/two.p12 --source hsm --replace "
             "--passphrase-file /root/passphrase")
    await_answer(host, "CN=orders-2")
    owner = host.get(f"stat -c %U /proc/{shown(host, 'MainPID', 'certbroker-watch@nginx')}")
    require(owner == "certbroker-watch", owner)
    as_watcher = "setpriv --reuid=certbroker-watch --regid=certbroker-watch --clear-groups systemctl --no-ask-password"
    host.run(f"{as_watcher} reload nginx")
    for command in ("restart nginx", "stop nginx", "reload certbrokerd"):
        require(host.run(f"{as_watcher} {command}", check=False).returncode != 0, command)


def logrotate(host):
    """The real one, with the rules that ship."""
    host.run(f"install -m 644 {EXAMPLES}/logrotate /etc/logrotate.d/certbroker && "
             "logrotate --force /etc/logrotate.d/certbroker")
    await_answer(host, "CN=orders-2")
    said = host.get("certbroker audit verify")
    require(re.search(r"in 2 files, all as they were written", said), said)
    await_status(host, "1 source ready, 1 certificate")


def killed(host):
    """Whatever ends it: it is started again, and who asks meanwhile waits."""
    pid = shown(host, "MainPID")
    host.run(f"kill -9 {pid} && certbroker certificate list")
    require(fetch(host) == "CN=orders-2", "a request in the gap")
    require(shown(host, "MainPID") not in (pid, "0"), "another process")
    await_status(host, "1 source ready, 1 certificate")


def restarted(host):
    """No call and no request fails for it, at whatever moment."""
    calls = host.start("until test -e /run/enough; do certbroker certificate list >/dev/null || exit 1; done")
    requests = host.start("until test -e /run/enough; do curl -sf --max-time 20 http://127.0.0.1/ || exit 1; done")
    for _ in range(4):
        host.run("sleep 0.3; systemctl restart certbrokerd")
    host.run("touch /run/enough")
    for process in (calls, requests):
        output, _ = process.communicate(timeout=120)
        require(process.returncode == 0, output)


def watchdog(host):
    """Where it stands still it is ended, and started anew. With seconds in place of the unit's half a minute."""
    host.run("mkdir -p /run/systemd/system/certbrokerd.service.d && "
             "printf '[Service]\\nWatchdogSec=2\\n' >/run/systemd/system/certbrokerd.service.d/watchdog.conf && "
             "systemctl daemon-reload && systemctl restart certbrokerd")
    pid = shown(host, "MainPID")
    host.run(f"kill -STOP {pid}")
    until(lambda: shown(host, "MainPID") not in (pid, "0"), "another process")
    await_answer(host, "CN=orders-2")
    host.run("rm -r /run/systemd/system/certbrokerd.service.d && systemctl daemon-reload && "
             "systemctl restart certbrokerd")


def refused_reload(host):
    """A configuration that is wrong is refused, says where, and changes nothing."""
    host.write("/etc/certbroker/conf.d/broken.conf", BROKEN)
    require(host.run("systemctl reload certbrokerd", check=False).returncode != 0, "it was taken")
    until(lambda: "broken.conf:2: " in host.get("journalctl -b -u certbrokerd --no-pager -n 50"), "a line of it")
    require(fetch(host) == "CN=orders-2", "the old one is in force")
    host.run("kill -HUP $(systemctl show -p MainPID --value certbrokerd)")
    await_status(host, "the configuration is wrong, and the one before is in force; 1 source ready, 1 certificate")
    host.run("rm /etc/certbroker/conf.d/broken.conf && systemctl reload certbrokerd")
    await_status(host, "1 source ready, 1 certificate")


def stopped(host):
    """Nobody's call starts what a person has stopped, and it is told at once that it is stopped."""
    host.run("systemctl stop certbrokerd")
    done = host.run("certbroker certificate list", check=False)
    require(done.returncode != 0 and "not running" in done.stderr, done.stderr)
    host.run("busctl call org.certbroker1 /org/certbroker1 org.freedesktop.DBus.Peer Ping; true")
    require(shown(host, "ActiveState") == "inactive", shown(host, "ActiveState"))
    host.run("systemctl start certbrokerd")
    require(fetch(host) == "CN=orders-2", "just after the start")


def booted(host):
    """From the first process to the first signed handshake; certbrokerd is there before its gateways."""
    host.reboot()
    until(lambda: fetch(host) == "CN=orders-2", "the first request")
    print(f"host: {host.seconds_since_boot():.1f} s from the first process to the first signed handshake", flush=True)
    host.wait_booted()
    ready = int(shown(host, "ActiveEnterTimestampMonotonic"))
    for unit in ("nginx", "haproxy"):
        require(int(shown(host, "ExecMainStartTimestampMonotonic", unit)) >= ready, f"{unit} came first")
    await_answer(host, "CN=orders-1", 81)  # its own generation, in the time of grace
    require("all as they were written" in host.get("certbroker audit verify"), "the log")


def booted_broken(host):
    """A wrong file at boot: it does not start, says why, is not tried for ever, and holds no gateway up."""
    host.write("/etc/certbroker/conf.d/broken.conf", BROKEN)
    host.reboot()
    host.wait_booted()
    require(shown(host, "ExecMainStatus") == "78" and shown(host, "ActiveState") == "failed", "it has failed")
    require(shown(host, "NRestarts") == "0", "restarts")
    require(shown(host, "ActiveState", "nginx") == "active", "nginx")
    require("broken.conf:2: " in host.get("journalctl -b -u certbrokerd --no-pager"), "the line in the journal")
    require(fetch(host) != "CN=orders-2", "nothing is signed")
    host.run("rm /etc/certbroker/conf.d/broken.conf && systemctl start certbrokerd")
    require(fetch(host) == "CN=orders-2", "mended")


ALL = {case.__name__: case for case in (
    install, source, certificate, nginx, haproxy, apache, stunnel, postfix, dovecot, watch, logrotate, killed, restarted,
    watchdog, refused_reload, stopped, booted, booted_broken)}
# What all the rest stands on.
NEEDED = ("install", "source", "certificate", "nginx")
