# SPDX-License-Identifier: Apache-2.0
"""Managed identity, over plain HTTP: IMDS, App Service, and Azure Arc with its two steps, each on its own path."""

import os
import pathlib
import secrets
import urllib.parse
import uuid

from .errors import identity_error
from .identities import json_answer
from .web import Response

IMDS_PATH = "/metadata/identity/oauth2/token"
APP_SERVICE_PATH = "/msi/token"
ARC_PATH = "/arc/metadata/identity/oauth2/token"

SELECTORS = {
    "imds": {"client_id": "client_id", "object_id": "object_id", "msi_res_id": "resource_id"},
    "app-service": {"client_id": "client_id", "principal_id": "object_id", "mi_res_id": "resource_id"},
}


class Metadata:
    def __init__(self, identities, resources, arc_folder):
        self.identities = identities
        self.resources = resources
        self.identity_header = secrets.token_hex(16)
        self.arc_folder = pathlib.Path(arc_folder)
        self.arc_keys = {}

    async def __call__(self, request):
        routes = {IMDS_PATH: self.imds, APP_SERVICE_PATH: self.app_service, ARC_PATH: self.arc}
        route = routes.get(request.path.rstrip("/"))
        if route is None:
            return Response(404, b"")
        if request.method != "GET":
            return Response(405, b"")
        return route(request)

    def imds(self, request):
        if request.header("X-Forwarded-For"):
            return identity_error(400, "bad_request_104", "X-Forwarded-For header is not allowed")
        if (request.header("Metadata") or "").lower() != "true":
            return identity_error(400, "bad_request_102", "Required metadata header not specified")
        if request.query.get("api-version") not in ("2018-02-01", "2019-08-01", "2019-11-01"):
            return identity_error(400, "bad_request", "The api-version is missing or not supported")
        identity = self.selected(request, "imds")
        if identity is None:
            return identity_error(400, "invalid_request", "Identity not found")
        return self.answer(request, identity)

    def app_service(self, request):
        if not secrets.compare_digest(request.header("X-IDENTITY-HEADER") or "", self.identity_header):
            return Response(401, {"statusCode": 401, "message": "Unauthorized", "correlationId": str(uuid.uuid4())})
        if request.query.get("api-version") != "2019-08-01":
            return Response(400, {"statusCode": 400, "message": "Unsupported api-version"})
        identity = self.selected(request, "app-service")
        if identity is None:
            return Response(400, {"statusCode": 400, "message": "No User Assigned or Delegated Managed Identity found "
                                  "for specified ClientId/ResourceId/PrincipalId.", "correlationId": str(uuid.uuid4())})
        return self.answer(request, identity, client_id=identity.client_id)

    def arc(self, request):
        if (request.header("Metadata") or "").lower() != "true":
            return identity_error(400, "invalid_request", "Required metadata header not specified")
        if request.query.get("api-version") not in ("2019-11-01", "2020-06-01"):
            return identity_error(400, "invalid_request", "The api-version is missing or not supported")
        scheme, _, key = (request.header("Authorization") or "").partition(" ")
        if scheme.lower() != "basic":
            return self.arc_challenge()
        file = self.arc_keys.pop(key.strip(), None)
        if file is None:
            return Response(401, {"error": "unauthorized", "error_description": "The key is wrong, or was used before"})
        file.unlink(missing_ok=True)
        return self.answer(request, self.identities.find(kind="system"))

    def arc_challenge(self):
        """A key in a file that only the broker's group can read: whoever reads it is on this host."""
        self.arc_folder.mkdir(parents=True, exist_ok=True)
        key, file = secrets.token_hex(32), self.arc_folder / f"{uuid.uuid4()}.key"
        file.touch(mode=0o640)
        file.write_text(key)
        os.chmod(file, 0o644)
        self.arc_keys[key] = file
        return Response(401, {"error": "unauthorized"}, [("WWW-Authenticate", f"Basic realm={file}")])

    def forget(self):
        for file in self.arc_keys.values():
            file.unlink(missing_ok=True)

    def selected(self, request, source):
        for parameter, field in SELECTORS[source].items():
            if parameter in request.query:
                wanted = request.query[parameter]
                return next((identity for identity in self.identities.by_name.values()
                             if identity.kind in ("system", "user") and getattr(identity, field) == wanted), None)
        return self.identities.find(kind="system")

    def answer(self, request, identity, **more):
        resource = request.query.get("resource")
        if not resource:
            return identity_error(400, "invalid_request", "Required query variable 'resource' is missing")
        if not self.resources.known(resource):
            return identity_error(400, "invalid_resource", f"AADSTS500011: The resource principal named {resource} was "
                                  "not found in the tenant named test.")
        request.entry["identity"] = identity.name
        now, lifetime = self.identities.clock.seconds(), self.identities.lifetime
        return json_answer({
            "access_token": self.identities.token(identity, resource), "refresh_token": "",
            "client_id": identity.client_id, "expires_in": str(lifetime), "expires_on": str(now + lifetime),
            "ext_expires_in": str(lifetime), "not_before": str(now), "resource": resource, "token_type": "Bearer",
            **more})


class Resources:
    """What a token may be for: the resource of each name of the vault."""

    SUFFIXES = (".vault.azure.net", ".vault.localhost")

    def __init__(self):
        self.more = []

    @classmethod
    def of_host(cls, name):
        """The resource that the vault names in its challenge when it is asked as `name`; None: it has no such name."""
        for suffix in cls.SUFFIXES:
            if name.endswith(suffix) and "." not in name[:-len(suffix)]:
                return "https://" + suffix[1:]
        if name in ("localhost", "127.0.0.1"):
            return f"https://{name}"
        return None

    def known(self, resource):
        # A token for a name with a slash at its end is issued, and then refused by the vault, as by the real one.
        host = urllib.parse.urlsplit(resource).hostname or ""
        return resource in self.more or (resource.startswith("https://") and host in (
            "vault.azure.net", "vault.localhost", "localhost", "127.0.0.1"))

    def audiences(self, name):
        return [self.of_host(name), "https://vault.azure.net", *self.more]
