# SPDX-License-Identifier: Apache-2.0
"""The vault's data plane: who asks, may they, which object, and pages. What is done then is in certificates and keys."""

import base64
import collections
import re
import uuid

from . import certificates, keys, shapes
from .errors import bad_parameter, deleted, disabled, forbidden, not_found, throttled, vault_error
from .identities import TENANT, bearer
from .web import Response

API_VERSIONS = ("7.0", "7.1", "7.2", "7.3", "7.4-preview.1", "7.4", "7.5-preview.1", "7.5", "7.6-preview.1",
                "7.6-preview.2", "7.6", "2025-07-01")
NAME = re.compile(r"[0-9a-zA-Z-]{1,127}\Z")
PAGE_MAX = 25
SECRET_MAX = 25 * 1024
# The real service's: so many in 10 seconds, where larger RSA keys count for more.
LIMIT, LIMIT_SECONDS = 4000, 10
WEIGHTS = {3072: 4, 4096: 8}


class Call:
    """One request that passed the checks: what a handler gets."""

    def __init__(self, plane, request, host, name=None, version=None):
        self.plane = plane
        self.store = plane.store
        self.request = request
        self.base = f"https://{request.host}"
        self.host = host
        self.name = name
        self.version = version

    @property
    def now(self):
        return self.store.clock.seconds()

    def body(self):
        value = self.request.json()
        if value is None:
            raise bad_parameter("The request body is not a JSON object.")
        return value

    def item(self, kind):
        """The object that the path names, if it is there and not deleted."""
        item = self.store.find(kind, self.name)
        if item is None or item.deleted_at is not None:
            raise not_found(kind, self.name)
        return item

    def found(self, kind):
        """(object, version)"""
        item = self.item(kind)
        version = item.find(self.version) if self.version else item.latest
        if version is None:
            raise not_found(kind, f"{self.name}/{self.version}" if self.version else self.name)
        return item, version

    def refuse_deleted(self, kind):
        item = self.store.objects.get((kind, self.name.lower()))
        if item is not None and item.deleted_at is not None:
            raise deleted(kind, item.name, self.store.is_deleting(item))


def list_of(kind, shape):
    def handler(call):
        rows = [shape(call.base, item, item.latest, False) for item in call.store.all(kind) if item.latest]
        return call.plane.page(call, rows)
    return handler


def versions_of(kind, shape):
    def handler(call):
        item = call.item(kind)
        rows = [shape(call.base, item, version, True) for version in item.versions]
        return call.plane.page(call, rows[1::2] + rows[::2])
    return handler


def get_secret(call):
    item, version = call.found("secret")
    if not version.enabled:
        raise disabled("secret", "get")
    body = shapes.secret_bundle(call.base, item, version)
    if len(body["value"]) > SECRET_MAX and item.kind == "secret":
        raise bad_parameter("The secret is too long.")
    return Response(200, body)


def set_secret(call):
    call.refuse_deleted("secret")
    body = call.body()
    if not isinstance(body.get("value"), str):
        raise bad_parameter("Property  has invalid value")
    if len(body["value"]) > SECRET_MAX:
        raise bad_parameter("The secret value is longer than 25k.")
    backing = call.store.find("secret", call.name)
    if backing is not None and backing.kind == "certificate":
        raise vault_error(403, "Forbidden", "Operation set is not allowed on a managed secret.", "ManagedSecret")
    item, version = call.store.add_plain("secret", call.name, secret_value=body["value"],
                                         content_type=body.get("contentType"), tags=body.get("tags") or {})
    return Response(200, shapes.secret_bundle(call.base, item, version))


OBJECT = r"/(?P<name>[^/]*)"
VERSION = OBJECT + r"(?:/(?P<version>[^/]*))?"

# (method, path, permission, handler); the first that fits is it.
ROUTES = [(method, re.compile(path + "/?\\Z"), permission, handler) for method, path, permission, handler in [
    ("GET", "/certificates", "certificates/list", list_of("certificate", shapes.certificate_item)),
    ("GET", "/certificates" + OBJECT + "/versions", "certificates/list",
     versions_of("certificate", shapes.certificate_item)),
    *certificates.routes(OBJECT, VERSION),
    ("GET", "/keys", "keys/list", list_of("key", shapes.key_item)),
    ("GET", "/keys" + OBJECT + "/versions", "keys/list", versions_of("key", shapes.key_item)),
    *keys.routes(OBJECT, VERSION),
    ("GET", "/secrets", "secrets/list", list_of("secret", shapes.secret_item)),
    ("GET", "/secrets" + OBJECT + "/versions", "secrets/list", versions_of("secret", shapes.secret_item)),
    ("GET", "/secrets" + VERSION, "secrets/get", get_secret),
    ("PUT", "/secrets" + OBJECT, "secrets/set", set_secret),
]]


class DataPlane:
    def __init__(self, store, identities, resources, authority):
        self.store = store
        self.identities = identities
        self.resources = resources
        self.authority = authority
        self.reset()

    def reset(self):
        self.permission_model = "policy"
        self.page_size = PAGE_MAX
        self.empty_pages = True
        self.challenge = None
        self.issue_seconds = 0.5
        self.strict = False
        self.limit = LIMIT
        self.recent = {"keys": collections.deque(), "others": collections.deque()}

    async def __call__(self, request):
        try:
            response = self.answer(request)
        except Response as raised:
            response = raised
        response.headers += self.common_headers(request)
        return response

    @staticmethod
    def common_headers(request):
        headers = [
            ("Cache-Control", "no-cache"), ("Pragma", "no-cache"), ("Expires", "-1"),
            ("x-ms-keyvault-region", "westus2"), ("x-ms-request-id", str(uuid.uuid4())),
            ("x-ms-keyvault-service-version", "1.9.1.1"),
            ("x-ms-keyvault-network-info", "conn_type=Ipv4;addr=127.0.0.1;act_addr_fam=InterNetwork;"),
            ("X-Content-Type-Options", "nosniff"), ("Strict-Transport-Security", "max-age=31536000;includeSubDomains")]
        if (request.header("x-ms-return-client-request-id") or "").lower() == "true":
            headers.append(("x-ms-client-request-id", request.header("x-ms-client-request-id") or ""))
        return headers

    def challenge_headers(self, host):
        authority = "https://login.windows.net" if host.endswith(".azure.net") else self.authority()
        value = self.challenge or (f'Bearer authorization="{authority}/{TENANT}", '
                                   f'resource="{self.resources.of_host(host)}"')
        return [("WWW-Authenticate", value)]

    def answer(self, request):
        host = request.host_name
        if self.resources.of_host(host) is None:
            raise vault_error(403, "Forbidden", f"This TCP connection does not allow access to {host}.",
                              "ForbiddenByConnection")
        challenge = self.challenge_headers(host)
        token = bearer(request)
        if token is None:
            raise vault_error(401, "Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.",
                              headers=challenge)
        identity = self.identities.of_token(token, self.resources.audiences(host), challenge)
        request.entry["identity"] = identity.name
        self.check_api_version(request)
        call, permission, handler = self.route(request, host)
        if permission not in identity.permissions:
            vault = host.split(".")[0]
            raise forbidden(identity, f"https://sts.windows.net/{TENANT}/", vault, permission, self.permission_model)
        if call.name is not None and not NAME.match(call.name):
            raise bad_parameter(f"The request URI contains an invalid name: {call.name}")
        self.count(call)
        return handler(call)

    def count(self, call):
        """429 when there were too many; those that are refused do not count."""
        is_key = call.request.path.startswith("/keys/")
        recent, now, weight = self.recent["keys" if is_key else "others"], self.store.clock.now(), 1
        item = self.store.find("key", call.name) if is_key and call.request.method == "POST" and call.name else None
        if item and item.latest:
            weight = WEIGHTS.get(getattr(item.latest.key, "key_size", 0), 1)
        while recent and recent[0][0] <= now - LIMIT_SECONDS:
            recent.popleft()
        # (the sum is not worth its time while even the heaviest could not make it)
        most = (len(recent) + 1) * max(WEIGHTS.values())
        if most > self.limit and sum(each for _, each in recent) + weight > self.limit:
            raise throttled()
        recent.append((now, weight))

    def check_api_version(self, request):
        version = request.query.get("api-version")
        if not version:
            raise bad_parameter("api-version must be specified")
        if version not in API_VERSIONS:
            raise bad_parameter(f"The specified version ({version}) is not recognized. Consider using the latest "
                                "supported version (7.5).")

    def route(self, request, host):
        known = False
        for method, pattern, permission, handler in ROUTES:
            found = pattern.match(request.path)
            if not found:
                continue
            known = True
            if method == request.method:
                groups = found.groupdict()
                return Call(self, request, host, groups.get("name"), groups.get("version")), permission, handler
        if known:
            raise bad_parameter(f"Method {request.method} does not allow operation on {request.path}")
        raise Response(404, "<!DOCTYPE html><html><head><title>404 - File or directory not found.</title></head>"
                       "<body><h2>404 - File or directory not found.</h2></body></html>", content_type="text/html")

    def page(self, call, rows):
        """One page: at most 25, now and then none, and the address of the next."""
        query = call.request.query
        try:
            size = int(query.get("maxresults", self.page_size))
            start, n_page = (int(part) for part in base64.b64decode(query.get("$skiptoken", "MDow")).split(b":"))
        except ValueError:
            raise bad_parameter("maxresults or $skiptoken is invalid.") from None
        if not 1 <= size <= PAGE_MAX:
            raise bad_parameter(f"maxresults must be between 1 and {PAGE_MAX}.")
        size = min(size, self.page_size)
        # The second page is empty though more follow, and so is one after the last: both happen.
        n_rows = 0 if self.empty_pages and n_page == 1 else size
        end = start + n_rows
        more = end < len(rows) or (self.empty_pages and end == len(rows) and n_rows > 0 and len(rows) >= size)
        link = None
        if more:
            token = base64.b64encode(f"{end}:{n_page + 1}".encode()).decode().replace("=", "%3D").replace("+", "%2B")
            link = (f"{call.base}{call.request.path}?api-version={query['api-version']}&$skiptoken={token}"
                    f"&maxresults={size}")
        return Response(200, {"value": rows[start:end], "nextLink": link})
