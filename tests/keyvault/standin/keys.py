# SPDX-License-Identifier: Apache-2.0
"""Keys: get, create, and the operations with them, as strict about lengths and encodings as the real service."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from . import shapes
from .errors import bad_parameter, disabled, not_permitted_by_key, outside_window
from .jwt import b64url, unb64url
from .store import CURVES, curve_name, new_key, operations_of
from .web import Response

HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
# An algorithm of ECDSA goes with one curve, and so with one length of digest.
EC_ALGORITHMS = {"ES256": ("P-256", "256"), "ES384": ("P-384", "384"), "ES512": ("P-521", "512"),
                 "ES256K": ("P-256K", "256")}
ENCRYPTION = {
    "RSA1_5": padding.PKCS1v15(),
    "RSA-OAEP": padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None),
    "RSA-OAEP-256": padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None),
}


def decoded(body, field):
    value = body.get(field)
    if not isinstance(value, str) or not value:
        raise bad_parameter(f"Property {field} is required and must be a base64url encoded string.")
    try:
        return unb64url(value)
    except ValueError:
        raise bad_parameter(f"Invalid base64url encoding of '{field}'.") from None


def scheme_of(key, algorithm):
    """(hash, padding or None) with which the key does the algorithm, or raises 400."""
    if isinstance(key, rsa.RSAPrivateKey) and algorithm[:2] in ("RS", "PS") and algorithm[2:] in HASHES:
        digest = HASHES[algorithm[2:]]
        if algorithm.startswith("RS"):
            return digest, padding.PKCS1v15()
        return digest, padding.PSS(padding.MGF1(digest), digest.digest_size)
    if isinstance(key, ec.EllipticCurvePrivateKey) and algorithm in EC_ALGORITHMS:
        curve, bits = EC_ALGORITHMS[algorithm]
        if curve_name(key) == curve:
            return HASHES[bits], None
    raise bad_parameter(f"Key and signature algorithm '{algorithm}' are incompatible.")


def check_length(algorithm, value, digest, field):
    if len(value) != digest.digest_size:
        raise bad_parameter(f"Invalid length of '{field}': {len(value)} bytes. {algorithm} requires "
                            f"{digest.digest_size} bytes, encoded with base64url.")


def raw_rsa(key, block):
    """RSNULL: PKCS#1 padding of whatever the caller brings."""
    size = key.key_size // 8
    if len(block) > size - 11:
        raise bad_parameter("Invalid length of 'value'.")
    padded = b"\x00\x01" + b"\xff" * (size - 3 - len(block)) + b"\x00" + block
    numbers = key.private_numbers()
    return pow(int.from_bytes(padded, "big"), numbers.d, numbers.public_numbers.n).to_bytes(size, "big")


def make_signature(key, algorithm, value):
    if algorithm == "RSNULL" and isinstance(key, rsa.RSAPrivateKey):
        return raw_rsa(key, value)
    digest, pad = scheme_of(key, algorithm)
    check_length(algorithm, value, digest, "value")
    if pad:
        return key.sign(value, pad, utils.Prehashed(digest))
    width = (key.curve.key_size + 7) // 8
    r, s = utils.decode_dss_signature(key.sign(value, ec.ECDSA(utils.Prehashed(digest))))
    return r.to_bytes(width, "big") + s.to_bytes(width, "big")


def allowed(call, operation):
    """The version, when the key may do the operation now."""
    item, version = call.found("key")
    if not version.enabled:
        raise disabled("key", operation)
    if operation in ("sign", "encrypt", "wrapKey"):
        if version.not_before is not None and call.now < version.not_before:
            raise outside_window(operation, False)
        if version.expires is not None and call.now >= version.expires:
            raise outside_window(operation, True)
    if operation not in version.key_operations:
        raise not_permitted_by_key(operation)
    return item, version


def algorithm_of(body):
    algorithm = body.get("alg")
    if not isinstance(algorithm, str) or not algorithm:
        raise bad_parameter("Property alg is required.")
    return algorithm


def result(call, item, version, value):
    return Response(200, {"kid": shapes.url(call.base, "key", item.name, version.id), "value": b64url(value)})


def sign(call):
    body = call.body()
    item, version = allowed(call, "sign")
    call.request.entry["json"] = {"alg": body.get("alg"), "value": body.get("value")}
    return result(call, item, version, make_signature(version.key, algorithm_of(body), decoded(body, "value")))


def verify(call):
    body = call.body()
    _, version = allowed(call, "verify")
    algorithm = algorithm_of(body)
    value, signature = decoded(body, "digest"), decoded(body, "value")
    digest, pad = scheme_of(version.key, algorithm)
    check_length(algorithm, value, digest, "digest")
    public = version.key.public_key()
    try:
        if pad:
            public.verify(signature, value, pad, utils.Prehashed(digest))
        else:
            half = len(signature) // 2
            der = utils.encode_dss_signature(int.from_bytes(signature[:half], "big"),
                                             int.from_bytes(signature[half:], "big"))
            public.verify(der, value, ec.ECDSA(utils.Prehashed(digest)))
    except (InvalidSignature, ValueError):
        return Response(200, {"value": False})
    return Response(200, {"value": True})


def cipher(operation):
    def handler(call):
        body = call.body()
        item, version = allowed(call, operation)
        algorithm = algorithm_of(body)
        value = decoded(body, "value")
        if algorithm not in ENCRYPTION or not isinstance(version.key, rsa.RSAPrivateKey):
            raise bad_parameter(f"Key and encryption algorithm '{algorithm}' are incompatible.")
        try:
            if operation in ("encrypt", "wrapKey"):
                out = version.key.public_key().encrypt(value, ENCRYPTION[algorithm])
            else:
                out = version.key.decrypt(value, ENCRYPTION[algorithm])
        except ValueError:
            raise bad_parameter("The parameter is incorrect.") from None
        return result(call, item, version, out)
    return handler


def get(call):
    item, version = call.found("key")
    if not version.enabled:
        raise disabled("key", "get")
    return Response(200, shapes.key_bundle(call.base, item, version))


def create(call):
    call.refuse_deleted("key")
    body = call.body()
    kty, size, crv = body.get("kty"), body.get("key_size") or 2048, body.get("crv") or "P-256"
    if kty not in ("RSA", "RSA-HSM", "EC", "EC-HSM") or size not in (2048, 3072, 4096) or crv not in CURVES:
        raise bad_parameter("The property 'kty', 'key_size' or 'crv' has an invalid value.")
    key = new_key(kty, size, crv)
    given = body.get("attributes") or {}
    item, version = call.store.add_plain(
        "key", call.name, key=key, hsm=kty.endswith("-HSM"), tags=body.get("tags") or {},
        key_operations=body.get("key_ops") or operations_of(key), enabled=given.get("enabled", True),
        not_before=given.get("nbf"), expires=given.get("exp"))
    return Response(200, shapes.key_bundle(call.base, item, version))


def routes(name, version):
    rows = [
        ("GET", "/keys" + version, "keys/get", get),
        ("POST", "/keys" + name + "/create", "keys/create", create),
    ]
    operations = {"sign": sign, "verify": verify, **{each: cipher(each) for each in
                                                      ("encrypt", "decrypt", "wrapKey", "unwrapKey")}}
    for operation, handler in operations.items():
        for path in (name, name + r"/(?P<version>[^/]*)"):
            rows.append(("POST", "/keys" + path + "/" + operation.lower(), f"keys/{operation}", handler))
    return rows
