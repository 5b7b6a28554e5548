# SPDX-License-Identifier: Apache-2.0
"""PKCS#12 as the real vault writes it, which no library here can be told to write.

Key and certificate bags in pbeWithSHA1And3-KeyTripleDES-CBC with 2000 iterations, a SHA-1 MAC with 2000, and all of it
with the NULL password: its RFC 7292 form has no bytes at all, where that of the empty password has two zero bytes. A
secret without its key has one encrypted bag, no attributes, and a MAC all the same.
"""

import hashlib
import hmac
import os
import uuid

from cryptography.hazmat.primitives import padding, serialization
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

ITERATIONS = 2000
PASSWORD = b""

KEY, IV, MAC = 1, 2, 3


def der(tag, *parts):
    body = b"".join(parts)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def sequence(*parts):
    return der(0x30, *parts)


def octets(value):
    return der(0x04, value)


def integer(value):
    return der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def oid(dotted):
    first, second, *rest = [int(arc) for arc in dotted.split(".")]
    body = bytes([first * 40 + second])
    for arc in rest:
        piece = [arc & 0x7F]
        while arc := arc >> 7:
            piece.insert(0, 0x80 | arc & 0x7F)
        body += bytes(piece)
    return der(0x06, body)


DATA = "1.2.840.113549.1.7.1"
ENCRYPTED_DATA = "1.2.840.113549.1.7.6"
SHROUDED_KEY_BAG = "1.2.840.113549.1.12.10.1.2"
CERTIFICATE_BAG = "1.2.840.113549.1.12.10.1.3"
X509_CERTIFICATE = "1.2.840.113549.1.9.22.1"
PBE_SHA1_3DES = "1.2.840.113549.1.12.1.3"
FRIENDLY_NAME = "1.2.840.113549.1.9.20"
LOCAL_KEY_ID = "1.2.840.113549.1.9.21"
CSP_NAME = "1.3.6.1.4.1.311.17.1"
KEY_USAGE = "2.5.29.15"
SHA1 = "1.3.14.3.2.26"


def derive(purpose, salt, length):
    """RFC 7292, appendix B.2, with SHA-1 and the NULL password."""
    block = 64

    def stretch(value):
        return (value * (block // max(len(value), 1) + 1))[:block * -(-len(value) // block)]

    state = stretch(salt) + stretch(PASSWORD)
    out = b""
    while len(out) < length:
        digest = bytes([purpose]) * block + state
        for _ in range(ITERATIONS):
            digest = hashlib.sha1(digest).digest()
        out += digest
        add = int.from_bytes((digest * 4)[:block], "big") + 1
        state = b"".join(
            ((int.from_bytes(state[at:at + block], "big") + add) % (1 << block * 8)).to_bytes(block, "big")
            for at in range(0, len(state), block))
    return out[:length]


def encrypt(plain):
    """(AlgorithmIdentifier, ciphertext)"""
    salt = os.urandom(8)
    cipher = Cipher(algorithms.TripleDES(derive(KEY, salt, 24)), modes.CBC(derive(IV, salt, 8))).encryptor()
    pad = padding.PKCS7(64).padder()
    padded = pad.update(plain) + pad.finalize()
    algorithm = sequence(oid(PBE_SHA1_3DES), sequence(octets(salt), integer(ITERATIONS)))
    return algorithm, cipher.update(padded) + cipher.finalize()


def attribute(name, value):
    return sequence(oid(name), der(0x31, value))


def bag(kind, value, attributes):
    return sequence(oid(kind), der(0xA0, value), der(0x31, *attributes))


def key_safe(key):
    plain = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8,
                              serialization.NoEncryption())
    # Windows' export puts an X.509 keyUsage (dataEncipherment) at the end of the PrivateKeyInfo
    usage = der(0xA0, attribute(KEY_USAGE, der(0x03, b"\x00\x10")))
    header = 2 if plain[1] < 0x80 else 2 + (plain[1] & 0x7F)
    algorithm, encrypted = encrypt(sequence(plain[header:], usage))
    shrouded = bag(SHROUDED_KEY_BAG, sequence(algorithm, octets(encrypted)), [
        attribute(LOCAL_KEY_ID, octets(b"\x01\x00\x00\x00")),
        attribute(FRIENDLY_NAME, der(0x1E, str(uuid.uuid4()).encode("utf-16-be"))),
        attribute(CSP_NAME, der(0x1E, "Microsoft Enhanced RSA and AES Cryptographic Provider".encode("utf-16-be"))),
    ])
    return sequence(oid(DATA), der(0xA0, octets(sequence(shrouded))))


def certificate_safe(certificates, leaf):
    bags = []
    for certificate in certificates:
        value = sequence(oid(X509_CERTIFICATE),
                         der(0xA0, octets(certificate.public_bytes(serialization.Encoding.DER))))
        attributes = [attribute(LOCAL_KEY_ID, octets(b"\x01\x00\x00\x00"))] if certificate == leaf else []
        bags.append(bag(CERTIFICATE_BAG, value, attributes))
    algorithm, encrypted = encrypt(sequence(*bags))
    content = sequence(oid(DATA), algorithm, der(0x80, encrypted))
    return sequence(oid(ENCRYPTED_DATA), der(0xA0, sequence(integer(0), content)))


def write(key, certificates, leaf=None):
    """The bytes of a secret: `certificates` in the order given; without a key, and without attributes, if key is None."""
    safes = ([key_safe(key)] if key else []) + [certificate_safe(certificates, leaf if key else None)]
    contents = sequence(*safes)
    salt = os.urandom(20)
    mac = hmac.new(derive(MAC, salt, 20), contents, hashlib.sha1).digest()
    return sequence(
        integer(3),
        sequence(oid(DATA), der(0xA0, octets(contents))),
        sequence(sequence(sequence(oid(SHA1), der(0x05)), octets(mac)), octets(salt), integer(ITERATIONS)))
