# SPDX-License-Identifier: Apache-2.0
"""Entra ID: discovery, and the token endpoint for client credentials: a secret, a certificate, a federated token."""

import base64
import secrets

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from . import jwt
from .errors import entra_error
from .identities import OTHER_TENANT, TENANT, json_answer
from .web import Response

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Login:
    def __init__(self, identities, resources):
        self.identities = identities
        self.resources = resources

    async def __call__(self, request):
        parts = request.path.strip("/").split("/")
        if request.path == "/common/discovery/instance":
            return self.instance(request)
        if parts[1:] in (["v2.0", ".well-known", "openid-configuration"], [".well-known", "openid-configuration"]):
            return self.configuration(request, parts[0])
        if parts[1:] in (["discovery", "v2.0", "keys"], ["discovery", "keys"]):
            return json_answer({"keys": [self.jwk()]})
        if parts[1:] == ["oauth2", "v2.0", "token"]:
            if request.method != "POST":
                return entra_error(405, "invalid_request", 900561, "The endpoint only accepts POST requests.")
            return self.token(request, parts[0])
        return Response(404, b"")

    def jwk(self):
        numbers = self.identities.key.public_key().public_numbers()
        return {"kty": "RSA", "use": "sig", "kid": self.identities.key_id, "x5t": self.identities.key_id,
                "n": jwt.b64url(numbers.n.to_bytes(256, "big")), "e": "AQAB"}

    def instance(self, request):
        host = request.host
        return json_answer({
            "tenant_discovery_endpoint": f"https://{host}/{TENANT}/v2.0/.well-known/openid-configuration",
            "api-version": "1.1",
            "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}]})

    def configuration(self, request, tenant):
        if tenant not in (TENANT, OTHER_TENANT, "common", "organizations"):
            return entra_error(400, "invalid_tenant", 90002, f"Tenant '{tenant}' not found.")
        base = f"https://{request.host}/{tenant}"
        return json_answer({
            "token_endpoint": f"{base}/oauth2/v2.0/token", "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
            "jwks_uri": f"{base}/discovery/v2.0/keys", "issuer": f"{base}/v2.0",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            "response_types_supported": ["code", "token"], "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"], "cloud_instance_name": "microsoftonline.com"})

    def token(self, request, tenant):
        form = request.form()
        request.entry["form"] = {key: value for key, value in form.items()
                                 if key in ("grant_type", "client_id", "scope", "client_assertion_type", "claims")}
        if tenant not in (TENANT, OTHER_TENANT):
            return entra_error(400, "invalid_request", 90002, f"Tenant '{tenant}' not found.")
        if form.get("grant_type") != "client_credentials":
            return entra_error(400, "unsupported_grant_type", 70003, "The grant type is not supported.")
        identity = self.identities.find(client_id=form.get("client_id"), kind="application", tenant=tenant)
        if identity is None:
            return entra_error(400, "unauthorized_client", 700016, f"Application with identifier "
                               f"'{form.get('client_id')}' was not found in the directory '{tenant}'.")
        refusal = self.prove(request, tenant, identity, form)
        if refusal:
            return refusal
        scope = form.get("scope", "")
        resource = scope.removesuffix("/.default")
        if scope == resource or " " in scope:
            return entra_error(400, "invalid_scope", 1002012, f"The provided value for scope {scope} is not valid. "
                               "Client credential flows must have a scope value with /.default suffixed to the "
                               "resource identifier (application ID URI).")
        if not self.resources.known(resource):
            return entra_error(400, "invalid_resource", 500011, f"The resource principal named {resource} was not "
                               "found in the tenant.")
        request.entry["identity"] = identity.name
        lifetime = self.identities.lifetime
        return json_answer({"token_type": "Bearer", "expires_in": lifetime, "ext_expires_in": lifetime,
                            "access_token": self.identities.token(identity, resource)})

    def prove(self, request, tenant, identity, form):
        """None when the client is who it says, else the error."""
        if "client_assertion" in form:
            if form.get("client_assertion_type") != ASSERTION_TYPE:
                return entra_error(400, "invalid_request", 900144, "The client_assertion_type is missing or wrong.")
            return self.check_assertion(request, tenant, identity, form["client_assertion"])
        if "client_secret" not in form:
            return entra_error(401, "invalid_client", 7000218, "The request body must contain the following parameter: "
                               "'client_assertion' or 'client_secret'.")
        if not identity.secret or not secrets.compare_digest(form["client_secret"].encode(), identity.secret.encode()):
            return entra_error(401, "invalid_client", 7000215, "Invalid client secret provided.")
        return None

    def check_assertion(self, request, tenant, identity, assertion):
        try:
            header, claims = jwt.parse(assertion)
        except ValueError:
            return entra_error(401, "invalid_client", 50027, "JWT token is invalid or malformed.")
        request.entry["assertion"] = {"header": header, "claims": claims}
        now = self.identities.clock.seconds()
        if not isinstance(claims.get("exp"), (int, float)) or claims["exp"] <= now:
            return entra_error(401, "invalid_client", 700024, "Client assertion is not within its valid time range.")
        if claims.get("nbf", now) > now + 300:
            return entra_error(401, "invalid_client", 700024, "Client assertion is not within its valid time range.")
        if claims.get("iss") != identity.client_id or claims.get("sub") != identity.client_id:
            return self.check_federated(identity, header, claims, assertion)
        return self.check_certificate(request, tenant, identity, header, claims, assertion)

    def check_federated(self, identity, header, claims, assertion):
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        for federated in identity.federated:
            if claims.get("iss") == federated["issuer"] and claims.get("sub") == federated["subject"] and \
                    federated["audience"] in audiences:
                if jwt.verified(assertion, self.identities.cluster_key.public_key(), ("RS256",)):
                    return None
                return entra_error(401, "invalid_client", 50013, "Assertion failed signature validation.")
        return entra_error(401, "invalid_client", 70021, "No matching federated identity record found for presented "
                           f"assertion. Assertion Issuer: '{claims.get('iss')}'. Assertion Subject: "
                           f"'{claims.get('sub')}'. Assertion Audience: '{audience}'.")

    def check_certificate(self, request, tenant, identity, header, claims, assertion):
        audiences = [f"https://{request.host}/{tenant}/oauth2/v2.0/token", f"https://{request.host}/{tenant}/v2.0"]
        if claims.get("aud") not in audiences:
            return entra_error(401, "invalid_client", 700023, f"Client assertion audience claim does not match Realm "
                               f"issuer. Expected {audiences[0]}.")
        if not claims.get("jti"):
            return entra_error(401, "invalid_client", 50027, "JWT token is invalid: it has no jti.")
        if claims["exp"] - claims.get("nbf", claims.get("iat", claims["exp"])) > 24 * 3600:
            return entra_error(401, "invalid_client", 700024, "Client assertion lives too long.")
        for pem in identity.certificates:
            certificate = x509.load_pem_x509_certificate(pem.encode())
            if not self.names(header, certificate):
                continue
            if not jwt.verified(assertion, certificate.public_key(), ("RS256", "PS256")):
                return entra_error(401, "invalid_client", 700027, "Client assertion failed signature validation.")
            return None
        return entra_error(401, "invalid_client", 700027, "Client assertion contains an invalid signature. The key was "
                           "not found. Thumbprint of key used by client: "
                           f"'{header.get('x5t#S256') or header.get('x5t')}'.")

    @staticmethod
    def names(header, certificate):
        """Whether the header's thumbprint is the certificate's; Entra needs one of the two."""
        for field, digest in (("x5t#S256", hashes.SHA256()), ("x5t", hashes.SHA1())):
            if field in header:
                fingerprint = certificate.fingerprint(digest)
                return header[field] in (jwt.b64url(fingerprint), base64.urlsafe_b64encode(fingerprint).decode())
        return False
