# SPDX-License-Identifier: Apache-2.0
"""JSON web tokens: RS256 and PS256, signed and checked, and nothing else."""

import base64
import json

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

PADDINGS = {
    "RS256": padding.PKCS1v15(),
    "PS256": padding.PSS(padding.MGF1(hashes.SHA256()), 32),
}


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64url(text):
    """Strict: no padding, no other alphabet. ValueError if it is not base64url."""
    if not isinstance(text, str) or set(text) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"):
        raise ValueError("not base64url")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def sign(key, claims, algorithm="RS256", **header):
    head = {"typ": "JWT", "alg": algorithm, **header}
    signed = b64url(json.dumps(head).encode()) + "." + b64url(json.dumps(claims).encode())
    return signed + "." + b64url(key.sign(signed.encode(), PADDINGS[algorithm], hashes.SHA256()))


def parse(token):
    """(header, claims), not verified. ValueError where it is no token."""
    parts = token.split(".")
    if len(parts) != 3:
        raise ValueError("a token has three parts")
    header, claims = json.loads(unb64url(parts[0])), json.loads(unb64url(parts[1]))
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise ValueError("a token's parts are objects")
    return header, claims


def verified(token, public_key, algorithms):
    """Whether the token's signature is public_key's, with one of the algorithms."""
    header, _ = parse(token)
    if header.get("alg") not in algorithms:
        return False
    signed, _, signature = token.rpartition(".")
    try:
        public_key.verify(unb64url(signature), signed.encode(), PADDINGS[header["alg"]], hashes.SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True
