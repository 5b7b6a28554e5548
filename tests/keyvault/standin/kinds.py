# SPDX-License-Identifier: Apache-2.0
"""The kinds of faults: each gets the request and `proceed()`, which makes the right answer, and returns another one.

Those that change the answer call proceed() first, so that what a request does in the vault is done.
"""

import asyncio
import base64
import email.utils
import gzip
import hashlib
import json
import secrets
import time

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from . import errors, jwt
from .identities import OTHER_TENANT, TENANT
from .issuing import make
from .store import curve_name, der_of
from .web import Response, reset

KINDS = {}
ORDERS = {"P-256": 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551,
          "P-384": int("ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf"
                       "581a0db248b0a77aecec196accc52973", 16)}
BLOCK = b" " * 65536


def kind(function):
    KINDS[function.__name__.strip("_").replace("_", "-")] = function
    return function


# ---- instead of an answer

@kind
async def status(service, request, proceed, status=500, body="", headers=(), content_type=None, behind=False):
    """behind: only where there is a token, as what stands behind the front end fails."""
    if behind and request.header("Authorization") is None:
        return await proceed()
    content_type = content_type or ("application/json" if isinstance(body, dict) else "text/plain")
    return Response(status, body, [tuple(each) for each in headers], content_type=content_type)


@kind
async def vault_error(service, request, proceed, status=500, code="InternalServerError", message="Internal error.",
                      inner=None, headers=()):
    return errors.vault_error(status, code, message, inner, [tuple(each) for each in headers])


@kind
async def identity_error(service, request, proceed, status=400, error="invalid_request",
                         description="Identity not found", headers=()):
    response = errors.identity_error(status, error, description)
    response.headers = [tuple(each) for each in headers]
    return response


@kind
async def throttled(service, request, proceed, header="Retry-After", value=None, date_in=None):
    """value: verbatim; date_in: an HTTP-date so many seconds ahead. Neither: no header, as the real one does."""
    if date_in is not None:
        value = email.utils.formatdate(time.time() + date_in, usegmt=True)
    return errors.throttled([(header, str(value))] if value is not None else [])


@kind
async def challenge(service, request, proceed, value=None, claims=None, drop=False):
    """401 whatever the token is. value: of WWW-Authenticate, where {tenant}, {other}, {elsewhere}… are filled in."""
    if drop:
        return errors.vault_error(401, "Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.")
    usual = service.plane.challenge_headers(request.host_name)[0][1]
    if claims is not None:
        value = f'{usual}, error="insufficient_claims", claims="{base64.b64encode(claims.encode()).decode()}"'
    if value is not None:
        facts = service.describe()
        value = value.replace("{tenant}", TENANT).replace("{other}", OTHER_TENANT).replace(
            "{elsewhere}", facts["elsewhere"]).replace("{elsewhere-http}", facts["elsewhere_http"]).replace(
            "{resource}", service.resources.of_host(request.host_name) or "").replace(
            "{authority}", facts["authority"])
    return errors.vault_error(401, "Unauthorized", "AKV10046: Unable to resolve the key used for signature validation.",
                              headers=[("WWW-Authenticate", value or usual)])


@kind
async def redirect(service, request, proceed, status=302, location="{elsewhere}/certificates"):
    """location: {self} (a loop), {elsewhere}, {elsewhere-http} are filled in; null: no Location."""
    headers = []
    if location is not None:
        facts = service.describe()
        location = location.replace("{elsewhere}", facts["elsewhere"]).replace(
            "{elsewhere-http}", facts["elsewhere_http"]).replace("{self}", f"https://{request.host}{request.target}")
        headers = [("Location", location)]
    return Response(status, b"", headers)


# ---- the right answer, late or broken on the wire

@kind
async def delay(service, request, proceed, seconds=1.0):
    await asyncio.sleep(seconds)
    return await proceed()


def played(response, play):
    response.play = play
    return response


@kind
async def close(service, request, proceed, answer=False):
    """The connection ends without an answer; answer: after the vault has done what was asked."""
    response = await proceed() if answer else Response(0)

    async def play(writer, _):
        writer.close()
    return played(response, play)


@kind
async def rst(service, request, proceed, after=None):
    """RST at once, or after so many bytes of the body."""
    response = await proceed()

    async def play(writer, made):
        if after is not None:
            writer.write(made.head() + made.body[:after])
            await writer.drain()
            await asyncio.sleep(0.05)
        reset(writer)
    return played(response, play)


@kind
async def truncate(service, request, proceed, after=20, chunked=False):
    """Fewer bytes than announced, and then the end."""
    response = await proceed()

    async def play(writer, made):
        if chunked:
            made.headers.append(("Transfer-Encoding", "chunked"))
            part = b"%x\r\n" % len(made.body) + made.body[:after]
            writer.write(made.head(length=False) + part)
        else:
            writer.write(made.head() + made.body[:after])
        await writer.drain()
        writer.close()
    return played(response, play)


@kind
async def cut(service, request, proceed, after=20):
    """A shorter body, correctly announced."""
    response = await proceed()
    response.body = response.body[:after]
    return response


@kind
async def slow(service, request, proceed, seconds=1.0, part="body"):
    """One byte each so many seconds, of the header or of the body."""
    response = await proceed()

    async def play(writer, made):
        text = made.head() + made.body
        start = len(made.head()) if part == "body" else 0
        writer.write(text[:start])
        for at in range(start, len(text)):
            writer.write(text[at:at + 1])
            await writer.drain()
            await asyncio.sleep(seconds)
    return played(response, play)


@kind
async def silent(service, request, proceed, seconds=3600):
    """The request is read, and nothing comes."""
    async def play(writer, made):
        await asyncio.sleep(seconds)
    return played(Response(0), play)


@kind
async def huge_body(service, request, proceed, size=1 << 30, announce=False):
    response = await proceed()

    async def play(writer, made):
        if announce:
            made.headers.append(("Content-Length", str(size)))
        writer.write(made.head(length=False) + b'{"value":"')
        for _ in range(size // len(BLOCK)):
            writer.write(BLOCK)
            await writer.drain()
        writer.close()
    return played(response, play)


@kind
async def huge_header(service, request, proceed, size=10 << 20, many=False):
    """One header of that size, or that many bytes in headers of 64 KiB."""
    response = await proceed()

    async def play(writer, made):
        writer.write(b"HTTP/1.1 200 OK\r\n")
        writer.write(b"" if many else b"X-Padding: ")
        for number in range(size // len(BLOCK)):
            writer.write((b"X-%d: " % number + b"a" * (len(BLOCK) - 16) + b"\r\n") if many else b"a" * len(BLOCK))
            await writer.drain()
        writer.write(b"\r\n" if many else b"\r\n\r\n")
        writer.close()
    return played(response, play)


@kind
async def gzip_bomb(service, request, proceed, size=256 << 20):
    """Said to be gzip, though the client asked for no such thing."""
    # zeros in members of 1 MiB each: made in no time
    packed = gzip.compress(bytes(1 << 20), 9) * (size >> 20)
    return Response(200, packed, [("Content-Encoding", "gzip")])


@kind
async def raw(service, request, proceed, text="", base64_text=None):
    """These bytes, whatever they are, and then the end. HTTP/0.9, for one."""
    data = base64.b64decode(base64_text) if base64_text else text.encode("utf-8", "surrogateescape")

    async def play(writer, made):
        writer.write(data)
        await writer.drain()
        writer.close()
    return played(Response(0), play)


@kind
async def interim_flood(service, request, proceed, count=1000000):
    """1xx answers without end, and then the right one."""
    response = await proceed()

    async def play(writer, made):
        for _ in range(count // 100):
            writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n" * 100)
            await writer.drain()
        writer.write(made.head() + made.body)
        await writer.drain()
        writer.close()
    return played(response, play)


@kind
async def smuggle(service, request, proceed, body='{"value":"smuggled"}'):
    """The right answer, and right behind it another that nobody asked for; the connection stays open."""
    response = await proceed()

    async def play(writer, made):
        second = Response(200, body)
        writer.write(made.head() + made.body + second.head() + second.body)
        await writer.drain()
        await asyncio.sleep(30)
    return played(response, play)


# ---- the right answer with something wrong in its JSON

@kind
async def body(service, request, proceed, text="", status=200):
    """A body verbatim under the usual headers."""
    response = await proceed()
    response.status = status
    response.body = text
    return response


@kind
async def deep_json(service, request, proceed, depth=100000, text="["):
    response = await proceed()
    response.body = text * depth
    return response


@kind
async def patch_json(service, request, proceed, path="", value=None, drop=False):
    """Another value, or none, at a path like attributes.exp or value.0.id. {elsewhere}, {self}: filled in."""
    response = await proceed()
    if response.json is None:
        return response
    text = json.dumps(value).replace("{elsewhere}", service.describe()["elsewhere"]).replace(
        "{self}", f"https://{request.host}{request.target}")
    response.json = json.loads(json.dumps(response.json))
    *above, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    target = response.json
    for part in above:
        target = target[part]
    if drop:
        target.pop(last, None)
    else:
        target[last] = json.loads(text)
    return response


@kind
async def duplicate_key(service, request, proceed, name="id", value="https://evil.localhost/certificates/x"):
    """The member once more, at the end, with another value."""
    response = await proceed()
    response.body = response.body[:-1] + b"," + json.dumps(name).encode() + b":" + json.dumps(value).encode() + b"}"
    return response


@kind
async def replace(service, request, proceed, old="", new=None, base64_new=None, count=-1):
    """Bytes in the body for others."""
    response = await proceed()
    fresh = base64.b64decode(base64_new) if base64_new else (new or "").encode("utf-8", "surrogateescape")
    response.body = response.body.replace(old.encode(), fresh, count)
    return response


# ---- wrong keys, certificates and signatures

@kind
async def other_key(service, request, proceed, key_type=None):
    """The certificate, or the key, of somebody else; a secret keeps its own."""
    response = await proceed()
    item, version = _version_of(service, request)
    if version is None or response.status != 200:
        return response
    key_type = key_type or service.issuing.type_of(version)
    if request.path.startswith("/certificates/"):
        leaf = service.issuing.chain(make(key_type), version.leaf.subject.rfc4514_string(), [])[0]
        response.json = {**response.json, "cer": base64.b64encode(der_of(leaf)).decode(),
                         "x5t": jwt.b64url(leaf.fingerprint(hashes.SHA1()))}
    elif request.path.startswith("/keys/"):
        public = make(key_type).public_key().public_numbers()
        shown = dict(response.json["key"])
        for field in ("n", "x", "y"):
            if field in shown:
                width = len(jwt.unb64url(shown[field]))
                shown[field] = jwt.b64url(getattr(public, field).to_bytes(width, "big"))
        response.json = {**response.json, "key": shown}
    return response


def _version_of(service, request):
    parts = request.path.strip("/").split("/")
    item = service.store.find("key", parts[1]) if len(parts) > 1 else None
    if item is None:
        return None, None
    version = item.find(parts[2]) if len(parts) > 2 and len(parts[2]) == 32 else item.latest
    return item, version


def _sign_other(key, algorithm):
    digest = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}[algorithm[2:5]]()
    other = secrets.token_bytes(digest.digest_size)
    if isinstance(key, rsa.RSAPrivateKey):
        pad = padding.PKCS1v15() if algorithm[0] == "R" else padding.PSS(padding.MGF1(digest), digest.digest_size)
        return key.sign(other, pad, utils.Prehashed(digest))
    width = (key.curve.key_size + 7) // 8
    return b"".join(part.to_bytes(width, "big") for part in
                    utils.decode_dss_signature(key.sign(other, ec.ECDSA(utils.Prehashed(digest)))))


@kind
async def bad_signature(service, request, proceed, how="other-digest"):
    """how: other-digest, other-key, flipped, short, long, empty, der, high-s, zero, not-base64, other-kid, padded."""
    response = await proceed()
    if response.status != 200:
        return response
    item, version = _version_of(service, request)
    good = jwt.unb64url(response.json["value"])
    half = len(good) // 2
    algorithm = request.json().get("alg")

    def der():
        return utils.encode_dss_signature(int.from_bytes(good[:half], "big"), int.from_bytes(good[half:], "big"))

    def high_s():
        order, s = ORDERS[curve_name(version.key)], int.from_bytes(good[half:], "big")
        return good[:half] + max(s, order - s).to_bytes(half, "big")

    made = {
        "other-digest": lambda: _sign_other(version.key, algorithm),
        "other-key": lambda: _sign_other(make(service.issuing.type_of(version)), algorithm),
        "flipped": lambda: good[:-1] + bytes([good[-1] ^ 1]), "short": lambda: good[:-1],
        "long": lambda: good + b"\0", "empty": lambda: b"", "der": der, "high-s": high_s,
        "zero": lambda: bytes(len(good)), "other-kid": lambda: good}
    value = {**response.json}
    if how == "not-base64":
        value["value"] = "!" + value["value"][1:]
    elif how == "padded":
        value["value"] = base64.b64encode(good).decode()
    else:
        value["value"] = jwt.b64url(made[how]())
    if how == "other-kid":
        value["kid"] = value["kid"].rsplit("/", 1)[0] + "/" + hashlib.md5(good).hexdigest()
    response.json = value
    return response


@kind
async def rotate(service, request, proceed, name=None, disable_old=False):
    """A new version between this request and its answer: the answer still tells of the old one."""
    response = await proceed()
    item = service.store.objects.get(("certificate", (name or request.path.split("/")[2]).lower()))
    if item and item.latest:
        old = item.latest
        key, chain = service.issuing.material({"name": item.name}, old)
        service.store.add_version(item.name, key, chain, item.policy, exportable=old.exportable,
                                  content_type=old.content_type, order=old.order)
        old.enabled = not disable_old
        old.changed()
    return response


@kind
async def rollback(service, request, proceed, name=None):
    """The latest version is the first one again, as far as this request sees."""
    item = service.store.objects.get(("certificate", (name or request.path.split("/")[2]).lower()))
    if item is None or not item.versions:
        return await proceed()
    kept, item.current_id = item.current_id, item.versions[0].id
    try:
        return await proceed()
    finally:
        item.current_id = kept


# ---- tokens

@kind
async def bad_token(service, request, proceed, **changes):
    """Members of the token endpoint's answer, changed. audience, tenant, size: of the token itself."""
    response = await proceed()
    if response.json is None or "access_token" not in response.json:
        return response
    value = dict(response.json)
    _, claims = jwt.parse(value["access_token"])
    identity = service.identities.find(object_id=claims["oid"])
    if "audience" in changes:
        value["access_token"] = service.identities.token(identity, changes.pop("audience"))
    if changes.pop("other_tenant", False):
        value["access_token"] = service.identities.token(
            identity, claims["aud"], tid=OTHER_TENANT, iss=f"https://sts.windows.net/{OTHER_TENANT}/")
    if size := changes.pop("size", None):
        value["access_token"] = service.identities.token(identity, claims["aud"], groups="g" * size)
    for field in changes.pop("drop", ()):
        value.pop(field, None)
    value.update(changes)
    response.json = value
    return response
