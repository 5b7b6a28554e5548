# SPDX-License-Identifier: Apache-2.0
"""The control endpoint: what tests ask of the stand-in besides what a vault's clients do. Plain HTTP, JSON, loopback."""

import asyncio

from cryptography.hazmat.primitives import serialization

from . import catalogue, kinds, shapes
from .authority import TLS_MODES
from .identities import EVERYTHING, Identity
from .issuing import fields_of, make, shown
from .store import operations_of
from .web import Response


class Control:
    def __init__(self, service):
        self.service = service

    async def __call__(self, request):
        parts = request.path.strip("/").split("/")
        handler = getattr(self, f"{request.method.lower()}_{parts[1].replace('-', '_')}" if len(parts) > 1 else "get",
                          None) if parts[0] == "control" else None
        if handler is None:
            return Response(404, {"error": f"no {request.method} {request.path}"})
        try:
            return Response(200, await handler(request.json() or {}, *parts[2:]) or {})
        except (KeyError, ValueError, TypeError, AttributeError) as problem:
            return Response(400, {"error": f"{type(problem).__name__}: {problem}"})

    async def get(self, body):
        return self.service.describe()

    async def post_stop(self, body):
        self.service.stopping.set()

    async def post_reset(self, body):
        await self.service.reset()

    # ---- what the vault holds

    def base(self):
        return self.service.describe()["url"]

    async def post_certificates(self, body):
        """A certificate, or the next version of one. See README.md for the fields."""
        service = self.service
        item = service.store.objects.get(("certificate", body["name"].lower()))
        previous = item.latest if item else None
        if body.pop("rotate", False) and previous is None:
            raise KeyError(body["name"])
        # making an RSA key takes long, and others go on asking meanwhile
        key, chain = await asyncio.to_thread(service.issuing.material, body, previous)
        fields = {"order": "shuffled", **fields_of(body)}
        if previous:
            fields = {"exportable": previous.exportable, "content_type": previous.content_type,
                      "order": previous.order, **fields_of(body)}
        item, version = service.store.add_version(body["name"], key, chain, body.get("policy"), **fields)
        if body.get("policy") is None:
            item.policy = shapes.policy_of_import(key, chain[0], version.content_type, version.exportable)
        return shown(item, version, self.base())

    def version(self, name, version_id, kind="certificate"):
        item = self.service.store.find(kind, name)
        if item is None:
            raise KeyError(name)
        version = item.find(version_id) if version_id else item.latest
        if version is None:
            raise KeyError(version_id)
        return item, version

    async def get_certificates(self, body, name, version_id=None):
        item, version = self.version(name, version_id)
        return {**shown(item, version, self.base()), "versions": [each.id for each in item.versions]}

    async def patch_certificates(self, body, name, version_id=None):
        """Changes fields of a version; and "current": true makes an older one the latest again."""
        item, version = self.version(name, version_id)
        for field, value in fields_of(body).items():
            setattr(version, field, value)
        if "shown_key_type" in body:
            version.shown_key = make(body["shown_key_type"]) if body["shown_key_type"] else None
        if "chain" in body or "key" in body:
            version.key, version.chain = self.service.issuing.material({"name": name, **body}, version)
        if "pending" in body and body["pending"] is None:
            item.pending = None
        if body.get("current"):
            item.current_id = version.id
        version.changed()
        return shown(item, version, self.base())

    async def delete_certificates(self, body, name, version_id=None):
        """It was never there: no soft delete. Of one version: a purge, and an older backup that was restored."""
        item, version = self.version(name, version_id) if version_id else (None, None)
        if version:
            item.versions.remove(version)
            item.current_id = None
        if not version or not item.versions:
            self.service.store.objects.pop(("certificate", name.lower()))

    async def post_secrets(self, body):
        item, version = self.service.store.add_plain("secret", body["name"], secret_value=body["value"],
                                                     content_type=body.get("content_type"))
        return {"name": item.name, "version": version.id}

    async def post_keys(self, body):
        key = make(body.get("key_type", "ec-p256"))
        item, version = self.service.store.add_plain(
            "key", body["name"], key=key, key_operations=body.get("key_operations") or operations_of(key))
        public = key.public_key().public_bytes(serialization.Encoding.PEM,
                                               serialization.PublicFormat.SubjectPublicKeyInfo)
        return {"name": item.name, "version": version.id, "public_key": public.decode()}

    # ---- who may ask

    async def patch_identities(self, body, name):
        identity = self.service.identities.by_name.get(name)
        if identity is None:
            identity = Identity(name, body["kind"], body["client_id"])
            self.service.identities.by_name[name] = identity
        for operation in [*body.get("allow", ()), *body.get("deny", ())]:
            if operation != "*" and operation not in EVERYTHING:
                raise ValueError(f"no such operation: {operation}")
        if "permissions" in body:
            identity.permissions = set(EVERYTHING if body["permissions"] == "*" else body["permissions"])
        identity.permissions |= set(body.get("allow", ()))
        identity.permissions -= set(body.get("deny", ()))
        for field in ("kind", "client_id", "object_id", "tenant", "secret", "certificates", "federated"):
            if field in body:
                setattr(identity, field, body[field])
        return self.service.describe()["identities"][name]

    async def delete_identities(self, body, name):
        del self.service.identities.by_name[name]

    async def post_federated_token(self, body):
        identities = self.service.identities
        federated = identities.by_name["workload"].federated[0]
        return {"token": identities.federated_token(
            body.get("subject", federated["subject"]), body.get("audience", federated["audience"]),
            body.get("lifetime", 3600), body.get("issuer"))}

    async def post_token(self, body):
        """A token of the service's own making, right or wrong: {"identity", "audience", "claims"}."""
        identities = self.service.identities
        return {"token": identities.token(identities.by_name[body.get("identity", "system")],
                                          body.get("audience", "https://vault.azure.net"),
                                          **body.get("claims", {}))}

    async def post_revoke(self, body):
        self.service.identities.revoke()

    # ---- how it behaves

    async def patch_settings(self, body):
        service = self.service
        targets = {
            "clock_offset": (service.clock, "offset"), "token_lifetime": (service.identities, "lifetime"),
            "permission_model": (service.plane, "permission_model"), "page_size": (service.plane, "page_size"),
            "limit": (service.plane, "limit"), "strict": (service.plane, "strict"),
            "empty_pages": (service.plane, "empty_pages"), "challenge": (service.plane, "challenge"),
            "issue_seconds": (service.plane, "issue_seconds"), "delete_seconds": (service.store, "delete_seconds"),
            "latency": (service, "latency"), "audiences": (service.resources, "more")}
        for name, value in body.items():
            if name == "tls":
                self.set_tls(value)
            elif name == "network":
                for listener, mode in value.items():
                    service.listeners[listener].set_mode(mode)
            else:
                setattr(*targets[name], value)

    def set_tls(self, modes):
        """{"vault": mode}: for connections from now on; those that are open are closed."""
        for name, mode in modes.items():
            if mode not in TLS_MODES:
                raise ValueError(f"no such TLS mode: {mode}")
            listener = self.service.listeners[name]
            listener.context = self.service.contexts.get(mode)
            listener.disconnect()

    async def get_faults(self, body, what=None):
        if what == "known":
            return {"kinds": sorted(kinds.KINDS), "catalogue": catalogue.FAULTS}
        return {"faults": self.service.faults.rules}

    async def post_faults(self, body):
        return await self.service.faults.add(body)

    async def delete_faults(self, body, number=None):
        self.service.faults.remove(int(number) if number else None)

    # ---- what reached it

    async def get_log(self, body):
        return {"log": self.service.log.entries}

    async def get_count(self, body):
        """How many requests: at a listener, with a method, whose path begins so."""
        return {"count": sum(entry["kind"] == "request" and body.get("at") in (None, entry["at"])
                             and body.get("method") in (None, entry["method"])
                             and entry["path"].startswith(body.get("path") or "") for entry in self.service.log.entries)}

    async def delete_log(self, body):
        self.service.log.entries.clear()

    async def get_connections(self, body):
        return {name: each.n_open for name, each in self.service.listeners.items()}
