# SPDX-License-Identifier: Apache-2.0
"""The faults V1 to V28 by name: V13.date, V20.der … Each is a rule of `faults`, or a note where no rule is needed.

What is not the service's doing (V1, V24, V25, V26) is listed for completeness, with how a test brings it about.
"""

ANY_GET = r"^GET "
CERTIFICATE = r"^GET /certificates/[^/?]+(/[0-9a-f]{32})?/?\?"
SIGN = r"^POST /keys/[^?]*/sign\?"
IMDS = r"^GET /metadata/identity"
TOKEN = r"^POST /[^/]+/oauth2/v2.0/token|^GET .*(/metadata/identity/oauth2/token|/msi/token)"

FAULTS = {}


def _add(name, kind, /, match="", at="vault", **options):
    FAULTS[name] = {"at": at, "match": match, "do": {"kind": kind, **options}}


def _setting(name, **settings):
    FAULTS[name] = {"settings": settings}


def _note(name, text):
    FAULTS[name] = {"note": text}


_note("V1", "a host below .invalid does not resolve; the stand-in is not asked")
for _mode in ("refuse", "drop", "stall"):
    _setting(f"V2.{_mode}", network={"vault": _mode})
for _mode in ("wrong-ca", "self-signed", "expired", "not-yet-valid", "wrong-host", "sha1", "tls1.1",
              "client-certificate"):
    _setting(f"V3.{_mode}", tls={"vault": _mode})

_add("V4.header", "slow", part="header", seconds=1.0)
_add("V4.body", "slow", part="body", seconds=1.0)
_add("V4.silent", "silent")

_add("V5.truncated", "truncate", after=40)
_add("V5.chunk", "truncate", after=40, chunked=True)
_add("V5.reset", "rst", after=40)
_add("V5.reset-at-once", "rst")
_add("V5.closed", "close")
_add("V5.closed-when-done", "close", answer=True)
_add("V5.cut-json", "cut", after=40)

_add("V6.body", "huge-body", size=1 << 30)
_add("V6.announced", "huge-body", size=1 << 30, announce=True)
_add("V6.header", "huge-header", size=10 << 20)
_add("V6.headers", "huge-header", size=10 << 20, many=True)
_add("V6.gzip", "gzip-bomb")

_add("V7.deep", "deep-json", depth=100000, text="[")
_add("V7.deep-object", "deep-json", depth=100000, text='{"a":')
_add("V7.duplicate", "duplicate-key", name="id")
_add("V7.nul", "patch-json", path="id", value="https://localhost/certificates/x\u0000/y")
_add("V7.array", "body", text="[]")
_add("V7.null", "body", text="null")
_add("V7.empty", "body", text="")
_add("V7.html", "body", text="<html><body>Service</body></html>")
_add("V7.type", "patch-json", match=CERTIFICATE, path="cer", value=17)
_add("V7.attributes-type", "patch-json", match=CERTIFICATE, path="attributes", value="enabled")
_add("V7.enabled-type", "patch-json", match=CERTIFICATE, path="attributes.enabled", value="true")
_add("V7.overflow", "patch-json", match=CERTIFICATE, path="attributes.exp", value=99999999999999999999999999)
_add("V7.negative", "patch-json", match=CERTIFICATE, path="attributes.exp", value=-1)
_add("V7.fraction", "patch-json", match=CERTIFICATE, path="attributes.exp", value=1.5e300)
_add("V7.base64", "patch-json", match=CERTIFICATE, path="cer", value="MII!not*base64")
_add("V7.no-certificate", "patch-json", match=CERTIFICATE, path="cer", value="AAAA")
_add("V7.no-cer", "patch-json", match=CERTIFICATE, path="cer", drop=True)
_add("V7.no-kid", "patch-json", match=CERTIFICATE, path="kid", drop=True)
_add("V7.no-id", "patch-json", match=CERTIFICATE, path="id", drop=True)
_add("V7.foreign-kid", "patch-json", match=CERTIFICATE, path="kid", value="{elsewhere}/keys/orders/" + "0" * 32)
_add("V7.foreign-sid", "patch-json", match=CERTIFICATE, path="sid", value="{elsewhere}/secrets/orders/" + "0" * 32)
_add("V7.utf8", "replace", old='"id"', base64_new="Iv/+aWQi")
_add("V7.secret", "patch-json", match=r"^GET /secrets/", path="value", value="not base64 *")
_add("V7.secret-null", "patch-json", match=r"^GET /secrets/", path="value", value=None)
_add("V7.secret-empty", "patch-json", match=r"^GET /secrets/", path="value", value="")

_add("V8.challenge", "challenge")
_add("V8.claims", "challenge", claims='{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}')

_add("V9.short", "bad-token", match=TOKEN, at="any", expires_in=2)
_add("V9.long", "bad-token", match=TOKEN, at="any", expires_in=99999999999)
_add("V9.zero", "bad-token", match=TOKEN, at="any", expires_in=0)
_add("V9.negative", "bad-token", match=TOKEN, at="any", expires_in=-5)
_add("V9.wall-clock", "bad-token", match=TOKEN, at="any", expires_on="1")
_add("V9.numbers", "bad-token", match=TOKEN, at="any", expires_in=3599)
_add("V9.date", "bad-token", match=TOKEN, at="any", expires_on="11/23/2036 4:05:06 PM +00:00", drop=["expires_in"])
_add("V9.refresh-in", "bad-token", match=TOKEN, at="any", refresh_in=2)
_setting("V9.ahead", clock_offset=600)
_setting("V9.behind", clock_offset=-600)

_NETWORK = {
    "ForbiddenByFirewall": "Client address is not authorized and caller is not a trusted service.",
    "ForbiddenByConnection": "Public network access is disabled and request is not from a trusted service nor via an "
                             "approved private link.",
}
for _inner in ("ForbiddenByPolicy", "ForbiddenByRbac", "AccessDenied", *_NETWORK):
    _add(f"V10.{_inner}", "vault-error", status=403, code="Forbidden", inner=_inner, message=_NETWORK.get(
        _inner, "The user, group or application does not have the permission on key vault 'contoso'."))

_add("V11.not-found", "vault-error", status=404, code="CertificateNotFound",
     message="A certificate with (name/id) x was not found in this key vault.")
_add("V11.html", "status", status=404, body="<html><head><title>404</title></head></html>", content_type="text/html")
_add("V11.empty", "status", status=404)

_add("V12.deleting", "vault-error", status=409, code="Conflict", inner="ObjectIsBeingDeleted",
     message="The object is currently being deleted.")
_add("V12.deleted", "vault-error", status=409, code="Conflict", inner="ObjectIsDeletedButRecoverable",
     message="The object is currently in a deleted but recoverable state.")

_add("V13.missing", "throttled")
_add("V13.seconds", "throttled", value=7)
_add("V13.date", "throttled", date_in=7)
_add("V13.past", "throttled", date_in=-3600)
_add("V13.far", "throttled", date_in=40 * 365 * 86400)
_add("V13.milliseconds", "throttled", header="retry-after-ms", value=7000)
_add("V13.x-milliseconds", "throttled", header="x-ms-retry-after-ms", value=7000)
_add("V13.negative", "throttled", value=-1)
_add("V13.absurd", "throttled", value=10 ** 14)
_add("V13.overflow", "throttled", value="9" * 40)
_add("V13.text", "throttled", value="soon")

for _status in (408, 500, 502, 503, 504):
    _add(f"V14.{_status}", "status", status=_status)
_add("V14.json", "vault-error", status=500, code="InternalServerError", message="An unexpected error occurred.")
_add("V14.behind", "status", status=503, headers=[["Retry-After", "30"]], behind=True)
_add("V14.retry-after", "status", status=503, headers=[["Retry-After", "3"]])

for _status in (301, 302, 303, 307, 308):
    _add(f"V15.{_status}", "redirect", status=_status)
_add("V15.http", "redirect", location="{elsewhere-http}/certificates")
_add("V15.metadata", "redirect", location="http://169.254.169.254/metadata/identity/oauth2/token")
_add("V15.file", "redirect", location="file:///etc/passwd")
_add("V15.token", "redirect", match=TOKEN, at="any", status=307, location="{elsewhere}/token")

_add("V16.loop", "redirect", location="{self}")
_add("V16.no-location", "redirect", location=None)
_add("V16.interim", "interim-flood")
_add("V16.http09", "raw", text='{"value":"HTTP/0.9"}')
_add("V16.garbage", "raw", text="\u0001\u0002\u0003 nothing like HTTP\r\n\r\n")
_add("V16.smuggled", "smuggle")

_add("V17.rotated", "rotate", match=CERTIFICATE, disable_old=False)
_add("V17.disabled", "rotate", match=CERTIFICATE, disable_old=True)

_note("V18", "change(NAME, enabled=False), expires=…, not_before=…, key_operations=[…]")

_add("V19.certificate", "other-key", match=CERTIFICATE)
_add("V19.key", "other-key", match=r"^GET /keys/")

for _how in ("other-digest", "other-key", "flipped", "short", "long", "empty", "der", "high-s", "zero", "not-base64",
             "other-kid", "padded"):
    _add(f"V20.{_how}", "bad-signature", match=SIGN, how=_how)

_add("V21.resource", "challenge", value='Bearer authorization="{authority}/{tenant}", resource="https://evil.example"')
_add("V21.suffix", "challenge", value='Bearer authorization="{authority}/{tenant}", resource="https://localhos"')
_add("V21.top", "challenge", value='Bearer authorization="{authority}/{tenant}", resource="https://net"')
_add("V21.resource-http", "challenge", value='Bearer authorization="{authority}/{tenant}", resource="http://localhost"')
_add("V21.authority", "challenge", value='Bearer authorization="{elsewhere}/{tenant}", resource="{resource}"')
_add("V21.http", "challenge", value='Bearer authorization="{elsewhere-http}/{tenant}", resource="{resource}"')
_add("V21.tenant", "challenge", value='Bearer authorization="{authority}/{other}", resource="{resource}"')
_add("V21.no-authority", "challenge", value='Bearer resource="{resource}"')
_add("V21.no-resource", "challenge", value='Bearer authorization="{authority}/{tenant}"')
_add("V21.uri-and-scope", "challenge",
     value='Bearer authorization_uri="{authority}/{tenant}", scope="{resource}/.default"')
_add("V21.garbage", "challenge", value='Bearer ,,="=",resource')
_add("V21.basic", "challenge", value='Basic realm="vault"')
_add("V21.several", "challenge",
     value='Basic realm="x", Bearer authorization="{authority}/{tenant}", resource="{resource}"')
_add("V21.none", "challenge", drop=True)

for _mode in ("refuse", "drop", "stall"):
    _setting(f"V22.{_mode}", network={"metadata": _mode})
_add("V22.slow", "delay", at="metadata", seconds=5.0)
_add("V22.no-identity", "identity-error", at="metadata")
_add("V22.404", "identity-error", at="metadata", status=404, error="not_found", description="Not found")
_add("V22.410", "identity-error", at="metadata", status=410, error="gone", description="IMDS is being updated")
_add("V22.429", "identity-error", at="metadata", status=429, error="throttled", description="Too many requests")
_add("V22.retry-after", "identity-error", at="metadata", status=429, error="throttled",
     description="Too many requests", headers=[["Retry-After", "8"]])
_add("V22.several", "identity-error", at="metadata", description="Multiple user assigned identities exist, please "
     "specify the clientId / resourceId of the identity in the token request")
_add("V22.500", "identity-error", at="metadata", status=500, error="unknown", description="Failed to retrieve token")
_add("V22.docker", "status", at="metadata", status=403,
     body="connecting to 169.254.169.254:80: connect: A socket operation was attempted to an unreachable network.")
_add("V22.json", "status", at="metadata", status=200, body="<html>captive portal</html>")
_add("V22.array", "status", at="metadata", status=200, body="[1]", content_type="application/json")
_add("V22.huge", "huge-body", at="metadata", size=64 << 20)
_add("V22.arc-folder", "status", at="metadata", match="^GET /arc", status=401,
     headers=[["WWW-Authenticate", "Basic realm=/etc/passwd"]])
_add("V22.arc-dots", "status", at="metadata", match="^GET /arc", status=401,
     headers=[["WWW-Authenticate", "Basic realm=/var/opt/azcmagent/tokens/../../../../etc/passwd.key"]])

_add("V23.audience", "bad-token", match=TOKEN, at="any", audience="https://management.azure.com")
_add("V23.tenant", "bad-token", match=TOKEN, at="any", other_tenant=True)
_add("V23.type", "bad-token", match=TOKEN, at="any", token_type="pop")
_add("V23.size", "bad-token", match=TOKEN, at="any", size=16384)
_add("V23.empty", "bad-token", match=TOKEN, at="any", access_token="")
_add("V23.newline", "bad-token", match=TOKEN, at="any", access_token="a.b.c\r\nX-Injected: yes")
_add("V23.number", "bad-token", match=TOKEN, at="any", access_token=17)
_add("V23.missing", "bad-token", match=TOKEN, at="any", drop=["access_token"])
_add("V23.no-expiry", "bad-token", match=TOKEN, at="any", drop=["expires_in", "expires_on"])
_add("V23.invalid-client", "status", match=TOKEN, at="login", status=401, body={
    "error": "invalid_client", "error_description": "AADSTS7000222: The provided client secret keys are expired.",
    "error_codes": [7000222]})

_note("V24", "nothing to switch: callers name a source, never a URL")
_note("V25", "SSLKEYLOGFILE in the client's environment")
_note("V26", "set(latency={'vault': 0.3}) and many callers at once; then count requests()")

_add("V27.itself", "patch-json", match=r"^GET /(certificates|keys|secrets)(/[^/]+/versions)?/?\?", path="nextLink",
     value="{self}")
_add("V27.elsewhere", "patch-json", match=r"^GET /(certificates|keys|secrets)(/[^/]+/versions)?/?\?",
     path="nextLink", value="{elsewhere}/certificates?api-version=7.4")
_add("V28.rollback", "rollback", match=CERTIFICATE)


def expand(rule):
    """The named rule, with what the caller wants different."""
    name = rule["name"]
    if name not in FAULTS:
        raise ValueError(f"no such fault: {name}")
    known = FAULTS[name]
    if "note" in known:
        raise ValueError(f"{name}: {known['note']}")
    if "settings" in known:
        return {**known, "name": name}
    return {**known, **rule, "do": {**known["do"], **rule.get("do", {})}}
