#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# certbroker setup, on a host that systemd runs: certbrokerd, nginx, haproxy and softhsm2 are installed, no source is
# configured. To be run as root; what it makes stays. Exit status 0, and "setup.sh: all is well" at the end.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
secrets=/etc/certbroker/secrets
say() { echo "setup.sh: $*"; }
die() { say "$*" >&2; cat "$work/out" >&2 || true; exit 1; }

# expect STATUS TEXT COMMAND…: it ends with STATUS, and says TEXT
expect() {
  local status=$1 text=$2 code=0
  shift 2
  "$@" >"$work/out" 2>&1 || code=$?
  [[ $code == "$status" ]] || die "status $code, not $status: $*"
  grep -qF -- "$text" "$work/out" || die "does not say '$text': $*"
}

# All that setup could leave anywhere, and what certbrokerd is told. What SoftHSM writes into a token changes at each log-in.
state() {
  find /etc/certbroker /etc/systemd/system /run/systemd/system /run/certbroker-setup-* /var/lib/certbroker/tokens \
    -not -name generation -not -name token.lock -type f -exec sha256sum {} + -o -type d -printf '%p %m %u\n' 2>/dev/null | sort || true
  systemctl is-active certbrokerd nginx haproxy || true
  certbroker source list || true
}
unchanged() {
  state >"$work/after"
  diff "$work/before" "$work/after" >"$work/out" || die "something was left behind: $*"
}
# refused STATUS TEXT COMMAND…: likewise, and nothing is left of it
refused() {
  state >"$work/before"
  expect "$@"
  unchanged "${@:3}"
}

systemctl start certbrokerd nginx haproxy

say "what is missing is said"
refused 2 "--kind is missing" certbroker setup source hsm
refused 2 "A source's name" certbroker setup source 7 --kind softhsm
refused 4 "as root" setpriv --reuid=nobody --clear-groups certbroker setup source hsm --kind softhsm
refused 0 "Nothing was written" certbroker setup source hsm --kind softhsm --dry-run

say "a new token, from nothing to a signature"
expect 0 "has signed" certbroker setup source hsm --kind softhsm
[[ $(certbroker source list) == *ready* ]] || die "it is not ready"
[[ $(stat -c %U:%a /var/lib/certbroker/tokens) == certbroker:700 ]] || die "the tokens are not certbrokerd's own"
[[ -z $(find $secrets -perm /007) ]] || die "a PIN is everybody's"
refused 1 "is there already" certbroker setup source hsm --kind softhsm

say "a token that is there; and one that is not"
pin=$(ls $secrets/hsm-pin*)
if [[ $pin == *.cred ]]; then systemd-creds decrypt --name=hsm-pin "$pin" "$work/pin"; else cp "$pin" "$work/pin"; fi
refused 3 "There is no token nowhere" certbroker setup source b --kind pkcs11 --token nowhere --pin-file "$work/pin"
expect 6 "refuses the PIN" certbroker setup source b --kind pkcs11 --token hsm --pin-file - <<<999999
expect 0 "has signed" certbroker setup source b --kind pkcs11 --token hsm --pin-file "$work/pin"
expect 0 "has signed" certbroker setup source b --kind pkcs11 --token hsm --pin-file "$work/pin" --replace
refused 1 "'sessions' must be" certbroker setup source c --kind softhsm --set sessions=1000

say "a module that crashes"
cat >"$work/crash.c" <<'END'
#include <stdlib.h>
unsigned long C_GetFunctionList(void **list) { abort(); }
END
gcc -shared -fPIC -o /usr/local/lib/crash-pkcs11.so "$work/crash.c"
refused 3 "ends its process" certbroker setup source c --kind pkcs11 --module /usr/local/lib/crash-pkcs11.so \
  --token x --pin-file "$work/pin"
refused 1 "ends its process" certbroker setup source c --kind softhsm --module /usr/local/lib/crash-pkcs11.so

say "a disk that is full"
cp -a /etc/certbroker/conf.d "$work/conf.d"
mount -t tmpfs -o size=64k,mode=755 tmpfs /etc/certbroker/conf.d
cp -a "$work/conf.d/." /etc/certbroker/conf.d/
dd if=/dev/zero of=/etc/certbroker/conf.d/ballast bs=4k 2>/dev/null || true
refused 1 "No space left on device" certbroker setup source c --kind softhsm
umount /etc/certbroker/conf.d

say "interrupted"
state >"$work/before"
code=0
timeout --signal=INT 2 certbroker setup source c --kind softhsm >"$work/out" 2>&1 || code=$?
grep -qF "interrupted by a signal" "$work/out" || die "it was not interrupted ($code)"
unchanged "interrupted"

say "certbrokerd is stopped"
systemctl stop certbrokerd
expect 0 "has signed" certbroker setup source c --kind softhsm
systemctl is-active --quiet certbrokerd || die "certbrokerd was not started"

say "gateways"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$work/key" -out "$work/crt" \
  -subj /CN=orders -days 30 2>/dev/null
cat "$work/key" "$work/crt" >"$work/bundle"
certbroker certificate import setup-orders "$work/bundle" --source hsm >/dev/null
certbroker backend create setup-orders --url https://orders.example/ --certificate setup-orders >/dev/null
refused 1 "the handshake: " certbroker setup gateway nginx --backend setup-orders
cat >/etc/certbroker/conf.d/setup-grants.conf <<'END'
grant = {
  setup-nginx = { user = "www-data"; unit = "nginx.service"; allow = [ "tls" ]; certificate = [ "setup-*" ]; };
  setup-haproxy = { user = "haproxy"; unit = "haproxy.service"; allow = [ "tls" ]; certificate = [ "setup-*" ]; };
};
END
systemctl reload certbrokerd
echo 'garbage;' >/etc/nginx/conf.d/garbage.conf
refused 1 "garbage" certbroker setup gateway nginx --backend setup-orders
rm /etc/nginx/conf.d/garbage.conf
expect 0 "has loaded the provider" certbroker setup gateway nginx --backend setup-orders
refused 0 "was set up already" certbroker setup gateway nginx --backend setup-orders
expect 0 "has loaded the provider" certbroker setup gateway haproxy --certificate setup-orders
refused 3 "systemd knows no unit" certbroker setup gateway nginx --unit no-such.service

# A request through nginx's own unit, whose configuration cannot be read without the provider.
certbroker certificate chain setup-orders >/etc/nginx/setup.crt
certbroker certificate key setup-orders >/etc/nginx/setup.key
cat >/etc/nginx/conf.d/setup.conf <<'END'
server { listen 127.0.0.1:8444 ssl; ssl_certificate setup.crt; ssl_certificate_key setup.key; ssl_protocols TLSv1.3; return 200 "well\n"; }
END
systemctl reload nginx
[[ $(curl -sk --retry 5 --retry-all-errors https://127.0.0.1:8444/) == well ]] || die "nginx does not serve with the key"
refused 1 "setup.key" certbroker setup gateway nginx --remove
rm /etc/nginx/conf.d/setup.conf
expect 0 "removed" certbroker setup gateway nginx --remove
expect 0 "removed" certbroker setup gateway haproxy --remove
say "all is well"
