# SPDX-License-Identifier: Apache-2.0
"""The JSON that the vault answers with, made of what the store holds. `base` is https://HOST[:PORT]."""

import base64

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID
from cryptography import x509

from .jwt import b64url
from .store import RECOVERABLE_DAYS, USAGES, curve_name, der_of


def url(base, kind, name, version=None):
    return f"{base}/{kind}s/{name}" + (f"/{version}" if version else "")


def attributes(version, more=True):
    out = {"enabled": version.enabled, "created": version.created, "updated": version.updated or version.created}
    if version.not_before is not None:
        out["nbf"] = version.not_before
    if version.expires is not None:
        out["exp"] = version.expires
    out["recoveryLevel"] = "Recoverable+Purgeable"
    if more:
        out["recoverableDays"] = RECOVERABLE_DAYS
    return out


def jwk(base, item, version):
    public = (version.shown_key or version.key).public_key()
    out = {"kid": url(base, "key", item.name, version.id)}
    numbers = public.public_numbers()
    hsm = "-HSM" if version.hsm else ""
    if isinstance(public, rsa.RSAPublicKey):
        out.update(kty="RSA" + hsm, key_ops=version.key_operations,
                   n=b64url(numbers.n.to_bytes(public.key_size // 8, "big")),
                   e=b64url(numbers.e.to_bytes((numbers.e.bit_length() + 7) // 8, "big")))
    else:
        width = (public.curve.key_size + 7) // 8
        out.update(kty="EC" + hsm, key_ops=version.key_operations, crv=curve_name(public),
                   x=b64url(numbers.x.to_bytes(width, "big")), y=b64url(numbers.y.to_bytes(width, "big")))
    return out


def key_bundle(base, item, version):
    out = {"key": jwk(base, item, version), "attributes": attributes(version), **tags(version)}
    if item.kind == "certificate":
        out["managed"] = True
        out["attributes"]["exportable"] = version.exportable
    return out


def key_item(base, item, version, versioned):
    out = {"kid": url(base, "key", item.name, version.id if versioned else None),
           "attributes": attributes(version), **tags(version)}
    if item.kind == "certificate":
        out["managed"] = True
    return out


def secret_item(base, item, version, versioned):
    out = {"id": url(base, "secret", item.name, version.id if versioned else None),
           "attributes": attributes(version), **tags(version)}
    if version.content_type:
        out["contentType"] = version.content_type
    if item.kind == "certificate":
        out["managed"] = True
    return out


def secret_bundle(base, item, version):
    out = {"value": version.secret(), **secret_item(base, item, version, True)}
    if item.kind == "certificate":
        out["kid"] = url(base, "key", item.name, version.id)
    return out


def certificate_item(base, item, version, versioned):
    return {"id": url(base, "certificate", item.name, version.id if versioned else None),
            "x5t": version.thumbprint, "attributes": attributes(version, more=False), **tags(version)}


def certificate_bundle(base, item, version):
    out = {
        "id": url(base, "certificate", item.name, version.id), "kid": url(base, "key", item.name, version.id),
        "sid": url(base, "secret", item.name, version.id), "x5t": version.thumbprint,
        "cer": base64.b64encode(der_of(version.leaf)).decode(), "attributes": attributes(version),
        **tags(version), "policy": policy(base, item)}
    if item.pending:
        out["pending"] = {"id": url(base, "certificate", item.name, "pending")}
    return out


def partial_bundle(base, item):
    """Of a certificate of which there is only a request: 200, but no cer, kid, sid or x5t (recorded)."""
    first = item.placeholder
    out = {"id": url(base, "certificate", item.name, first.id), "attributes": attributes(first),
           "policy": policy(base, item)}
    if item.pending:
        out["pending"] = {"id": url(base, "certificate", item.name, "pending")}
    return out


def tags(version):
    return {"tags": version.tags} if version.tags else {}


def policy(base, item):
    return {"id": url(base, "certificate", item.name, "policy"), **(item.policy or {})}


def operation(base, item):
    pending = item.pending
    out = {
        "id": url(base, "certificate", item.name, "pending"),
        "issuer": {"name": pending.policy["issuer"]["name"]}, "csr": base64.b64encode(pending.csr).decode(),
        "cancellation_requested": pending.cancelled, "status": pending.status, "request_id": pending.id}
    if pending.status == "completed":
        out["target"] = url(base, "certificate", item.name)
    elif pending.status == "inProgress":
        out["status_details"] = (
            "Pending certificate created. Certificate request is in progress. This may take some time based on the "
            "issuer provider. Please check again later.")
        if pending.policy["issuer"]["name"] == "Unknown":
            out["status_details"] = (
                "Pending certificate created. Please Perform Merge to complete the request.")
    return out


def deleted(base, item, shape):
    return {
        "recoveryId": f"{base}/deleted{item.kind}s/{item.name}", "deletedDate": int(item.deleted_at),
        "scheduledPurgeDate": int(item.deleted_at) + RECOVERABLE_DAYS * 86400, **shape}


def usage_of(certificate):
    alone = ("encipherOnly", "decipherOnly")    # which cannot be asked for without keyAgreement
    try:
        usage = certificate.extensions.get_extension_for_oid(ExtensionOID.KEY_USAGE).value
    except x509.ExtensionNotFound:
        return ["digitalSignature", "keyEncipherment"]
    return [name for name, field in USAGES.items() if name not in alone and getattr(usage, field)]


def policy_of_import(key, leaf, content_type, exportable, given=None):
    """What the service fills in when a certificate is imported."""
    given = given or {}
    key_props = {"exportable": exportable, "reuse_key": False}
    if isinstance(key, rsa.RSAPrivateKey):
        key_props.update(kty="RSA", key_size=key.key_size)
    else:
        key_props.update(kty="EC", crv=curve_name(key), key_size=key.curve.key_size)
    key_props.update(given.get("key_props") or {})
    return {
        "key_props": key_props, "secret_props": {"contentType": content_type},
        "x509_props": given.get("x509_props") or {
            "subject": leaf.subject.rfc4514_string(), "ekus": ekus_of(leaf), "key_usage": usage_of(leaf),
            "validity_months": 13, "basic_constraints": {"ca": False}},
        "lifetime_actions": given.get("lifetime_actions") or [],
        "issuer": given.get("issuer") or {"name": "Unknown", "cert_transparency": False},
        "attributes": {"enabled": True, "created": 0, "updated": 0}}


def ekus_of(certificate):
    try:
        found = certificate.extensions.get_extension_for_oid(ExtensionOID.EXTENDED_KEY_USAGE).value
    except x509.ExtensionNotFound:
        return [ExtendedKeyUsageOID.SERVER_AUTH.dotted_string, ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string]
    return [each.dotted_string for each in found]


def policy_of_create(given, now):
    """What the service fills in when a certificate is to be made."""
    issuer = (given.get("issuer") or {}).get("name") or "Self"
    props = dict(given.get("x509_props") or {})
    key_props = {"exportable": True, "kty": "RSA", "reuse_key": False, **(given.get("key_props") or {})}
    key_props = {name: value for name, value in key_props.items() if value is not None}
    if key_props["kty"].startswith("RSA"):
        key_props.setdefault("key_size", 2048)
    else:
        key_props.setdefault("crv", "P-256")
    props.setdefault("ekus", [ExtendedKeyUsageOID.SERVER_AUTH.dotted_string,
                              ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string])
    props.setdefault("key_usage", ["digitalSignature", "keyEncipherment"])
    props.setdefault("validity_months", 12)
    props.setdefault("basic_constraints", {"ca": False})
    action = {"trigger": {"lifetime_percentage": 80},
              "action": {"action_type": "EmailContacts" if issuer == "Unknown" else "AutoRenew"}}
    return {
        "key_props": key_props,
        "secret_props": {"contentType": (given.get("secret_props") or {}).get("contentType") or
                         "application/x-pkcs12"},
        "x509_props": props, "lifetime_actions": given.get("lifetime_actions") or [action],
        "issuer": {**(given.get("issuer") or {}), "name": issuer},
        "attributes": {"enabled": True, "created": now, "updated": now}}
