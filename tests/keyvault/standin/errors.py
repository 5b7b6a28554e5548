# SPDX-License-Identifier: Apache-2.0
"""The errors of the vault and of the token endpoints, in the words of the real service where those are known."""

import datetime
import uuid

from .web import Response


def vault_error(status, code, message, inner=None, headers=()):
    error = {"code": code, "message": message}
    if inner:
        error["innererror"] = {"code": inner}
    return Response(status, {"error": error}, headers)


def bad_parameter(message):
    return vault_error(400, "BadParameter", message)


def not_found(kind, name):
    return vault_error(404, f"{kind.capitalize()}NotFound",
                       f"A {kind} with (name/id) {name} was not found in this key vault. If you recently deleted this "
                       f"{kind} you may be able to recover it using the correct recovery command. For help resolving "
                       "this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182")


def deleted(kind, name, being_deleted):
    if being_deleted:
        return vault_error(409, "Conflict", f"{kind.capitalize()} {name} is currently being deleted.",
                           "ObjectIsBeingDeleted")
    return vault_error(409, "Conflict",
                       f"{kind.capitalize()} {name} is currently in a deleted but recoverable state, and its name "
                       f"cannot be reused; in this state, the {kind} can only be recovered or purged.",
                       "ObjectIsDeletedButRecoverable")


def disabled(kind, operation):
    return vault_error(403, "Forbidden", f"Operation {operation} is not allowed on a disabled {kind}.",
                       f"{kind.capitalize()}Disabled")


def outside_window(operation, expired):
    what = "an expired key" if expired else "a key that is not yet valid"
    return vault_error(403, "Forbidden", f"Operation {operation} is not allowed on {what}.",
                       "KeyExpired" if expired else "KeyNotYetValid")


def not_permitted_by_key(operation):
    return vault_error(403, "Forbidden", f"Operation {operation} is not permitted on this key.",
                       "KeyOperationForbidden")


# The data action that a role must hold for an operation of a vault with role-based access.
ACTIONS = {
    "certificates/get": "certificates/read", "certificates/list": "certificates/read", "keys/get": "keys/read",
    "keys/list": "keys/read", "secrets/get": "secrets/getSecret/action", "secrets/list": "secrets/readMetadata/action",
    "keys/sign": "keys/sign/action", "keys/verify": "keys/verify/action", "keys/encrypt": "keys/encrypt/action",
    "keys/decrypt": "keys/decrypt/action", "keys/wrapKey": "keys/wrap/action", "keys/unwrapKey": "keys/unwrap/action",
    "certificates/import": "certificates/import/action", "certificates/create": "certificates/create/action",
    "certificates/delete": "certificates/delete",
}


def forbidden(identity, issuer, vault, operation, model):
    """403 as a vault says it: model is rbac, policy, or legacy (the older inner code of an access policy)."""
    caller = f"appid={identity.client_id};oid={identity.object_id};iss={issuer}"
    kind, action = operation.split("/")
    if model == "rbac":
        name = ACTIONS.get(operation, f"{kind}/{action}/action")
        return vault_error(403, "Forbidden",
                           "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny "
                           "assignments or role definitions were changed recently, please observe propagation time."
                           f"\r\nCaller: {caller}\r\nAction: 'Microsoft.KeyVault/vaults/{name}'\r\nResource: "
                           "'/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/test/providers/"
                           f"microsoft.keyvault/vaults/{vault}'\r\nAssignment: (not found)\r\nDenyAssignmentId: null"
                           f"\r\nDecisionReason: null \r\nVault: {vault};location=westus2\r\n", "ForbiddenByRbac")
    return vault_error(403, "Forbidden",
                       f"The user, group or application '{caller}' does not have {kind} {action} permission on key "
                       f"vault '{vault};location=westus2'. For help resolving this issue, please see "
                       "https://go.microsoft.com/fwlink/?linkid=2125287",
                       "AccessDenied" if model == "legacy" else "ForbiddenByPolicy")


def throttled(headers=()):
    return vault_error(429, "Throttled", "Request was not processed because too many requests were received. Reason: "
                       "VaultRequestTypeLimitReached", headers=headers)


def entra_error(status, error, number, text, **more):
    """An error of the token endpoint; number is that of AADSTS."""
    now = datetime.datetime.utcnow().strftime("%Y-%m-%d %H:%M:%SZ")
    trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
    return Response(status, {
        "error": error,
        "error_description": f"AADSTS{number}: {text} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {now}",
        "error_codes": [number], "timestamp": now, "trace_id": trace, "correlation_id": correlation,
        "error_uri": f"https://login.microsoftonline.com/error?code={number}", **more})


def identity_error(status, error, text):
    return Response(status, {"error": error, "error_description": text})
