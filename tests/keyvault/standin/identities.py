# SPDX-License-Identifier: Apache-2.0
"""Who may ask: the identities, what each may do in the vault, and the access tokens that name them."""

import dataclasses
import functools
import hashlib
import pathlib
import time
import uuid

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from . import jwt
from .web import Response
from .errors import vault_error

TENANT = "11111111-2222-3333-4444-555555555555"
OTHER_TENANT = "99999999-8888-7777-6666-555555555555"

TOKEN_KEY = pathlib.Path(__file__).with_name("token-key.pem")

OPERATIONS = {
    "certificates": ("get", "list", "import", "create", "update", "delete", "recover", "purge"),
    "secrets": ("get", "list", "set", "delete"),
    "keys": ("get", "list", "sign", "verify", "encrypt", "decrypt", "wrapKey", "unwrapKey", "create", "delete",
             "import", "update"),
}
EVERYTHING = frozenset(f"{kind}/{action}" for kind, actions in OPERATIONS.items() for action in actions)


@dataclasses.dataclass
class Identity:
    """kind: system or user (managed identities of this host), or application."""
    name: str
    kind: str
    client_id: str
    object_id: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))
    tenant: str = TENANT
    secret: str = None
    certificates: list = dataclasses.field(default_factory=list)  # PEM, for client assertions
    federated: list = dataclasses.field(default_factory=list)     # {issuer, subject, audience}
    permissions: set = dataclasses.field(default_factory=lambda: set(EVERYTHING))

    @property
    def resource_id(self):
        return ("/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/test/providers/"
                f"Microsoft.ManagedIdentity/userAssignedIdentities/{self.name}")


class Clock:
    """The service's own time: this machine's, and an offset that a test may set."""

    def __init__(self):
        self.offset = 0

    def now(self):
        return time.time() + self.offset

    def seconds(self):
        return int(self.now())


class Identities:
    """The identities, and the one key that signs access tokens: always the same, no secret, for making one takes long."""

    def __init__(self, clock):
        self.clock = clock
        self.key = serialization.load_pem_private_key(TOKEN_KEY.read_bytes(), None)
        self.key_id = hashlib.sha1(str(self.key.public_key().public_numbers().n).encode()).hexdigest().upper()
        self.cluster_issuer = "https://cluster.localhost/"
        self.reset()

    @functools.cached_property
    def cluster_key(self):
        """What signs a cluster's tokens; few ask for one, and making it takes long."""
        return rsa.generate_private_key(65537, 2048)

    def reset(self):
        """As at the start; tokens that were issued before stay good, for the keys stay."""
        self.by_name = {}
        self.lifetime = 3600
        self.issued_after = 0
        self.verified = {}      # tokens whose signature is good, for that does not change
        for name, kind, client_id, more in (
                ("system", "system", "aaaaaaaa-0000-4000-8000-000000000001", {}),
                ("user-assigned", "user", "aaaaaaaa-0000-4000-8000-000000000002", {}),
                ("application", "application", "aaaaaaaa-0000-4000-8000-000000000003",
                 {"secret": "correct-horse~battery.staple"}),
                ("workload", "application", "aaaaaaaa-0000-4000-8000-000000000004",
                 {"federated": [{"issuer": self.cluster_issuer, "subject": "system:serviceaccount:default:broker",
                                 "audience": "api://AzureADTokenExchange"}]})):
            self.by_name[name] = Identity(name, kind, client_id, object_id=client_id.replace("a", "b"), **more)

    def find(self, **wanted):
        for identity in self.by_name.values():
            if all(getattr(identity, key) == value for key, value in wanted.items()):
                return identity
        return None

    def revoke(self):
        """All tokens so far are refused from now on, as fresh as they are."""
        self.issued_after = self.clock.now()

    def token(self, identity, audience, **changes):
        """An access token as the first version of Entra's: the vault's audience takes those."""
        now = self.clock.now()
        claims = {
            "aud": audience, "iss": f"https://sts.windows.net/{identity.tenant}/", "iat": int(now), "nbf": int(now),
            "exp": int(now) + self.lifetime, "aio": "", "appid": identity.client_id, "appidacr": "2",
            "idp": f"https://sts.windows.net/{identity.tenant}/", "idtyp": "app", "oid": identity.object_id,
            "sub": identity.object_id, "tid": identity.tenant, "uti": uuid.uuid4().hex[:22], "ver": "1.0",
            "issued": now}
        claims.update(changes)
        return jwt.sign(self.key, claims, kid=self.key_id, x5t=self.key_id)

    def federated_token(self, subject, audience, lifetime, issuer=None):
        """What a cluster writes into a pod's token file."""
        now = self.clock.seconds()
        claims = {"iss": issuer or self.cluster_issuer, "sub": subject, "aud": [audience], "iat": now, "nbf": now,
                  "exp": now + lifetime, "jti": str(uuid.uuid4())}
        return jwt.sign(self.cluster_key, claims, kid="cluster")

    def of_token(self, token, audiences, challenge):
        """The identity that a bearer token names, or raises the vault's 401."""

        def refuse(message):
            raise vault_error(401, "Unauthorized", message, headers=challenge)

        claims = self.verified.get(token)
        if claims is None:
            try:
                header, claims = jwt.parse(token)
            except ValueError:
                refuse("AKV10001: Could not parse the bearer token.")
            if header.get("kid") != self.key_id:
                refuse("AKV10046: Unable to resolve the key used for signature validation.")
            if not jwt.verified(token, self.key.public_key(), ("RS256",)):
                refuse("AKV10045: Signature validation failed.")
            self.verified[token] = claims
        if claims.get("aud") not in audiences:
            refuse(f"AKV10022: Invalid audience. Expected {audiences[0]}, found: {claims.get('aud')}.")
        expected = f"https://sts.windows.net/{TENANT}/"
        if claims.get("iss") != expected or claims.get("tid") != TENANT:
            refuse(f"AKV10032: Invalid issuer. Expected one of {expected}, found {claims.get('iss')}.")
        now = self.clock.now()
        if claims.get("exp", 0) <= now:
            refuse("[TokenExpired] Error validating token: 'S2S12086: The token is expired.'")
        if claims.get("nbf", now + 1) > now + 1:
            refuse("[TokenNotYetValid] Error validating token: 'S2S12087: Token not yet valid.'")
        if claims.get("issued", 0) < self.issued_after:
            refuse("AKV10046: Unable to resolve the key used for signature validation.")
        identity = self.find(object_id=claims.get("oid"))
        if identity is None or identity.client_id != claims.get("appid"):
            refuse("AKV10050: The caller is not known.")
        return identity


def bearer(request):
    """The bearer token of a request, or None. A proof-of-possession token is not offered."""
    scheme, _, token = (request.header("Authorization") or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def json_answer(body, headers=()):
    return Response(200, body, [("Cache-Control", "no-store"), ("Pragma", "no-cache"), *headers])
