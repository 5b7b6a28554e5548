# SPDX-License-Identifier: Apache-2.0
"""Certificates: get, import, create with its pending request, merge, policy, delete and recover."""

import base64
import binascii

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from . import shapes
from .errors import bad_parameter, not_found, vault_error
from .store import (CURVES, PEM, PFX, Pending, Version, extensions_of, make_leaf, new_key, new_version_id,
                    operations_of, public_der, supported)
from .web import Response

CREATE_RETRY_AFTER = 10


def get(call):
    item = call.item("certificate")
    if not item.versions and item.placeholder and call.version in (None, "", item.placeholder.id):
        return Response(200, shapes.partial_bundle(call.base, item))
    item, version = call.found("certificate")
    return Response(200, shapes.certificate_bundle(call.base, item, version))


def get_policy(call):
    return Response(200, shapes.policy(call.base, call.item("certificate")))


def update_policy(call):
    item = call.item("certificate")
    item.policy = {**(item.policy or {}), **{name: value for name, value in call.body().items() if name != "id"}}
    return Response(200, shapes.policy(call.base, item))


def apply(version, body, now):
    given = body.get("attributes") or {}
    version.enabled = given.get("enabled", version.enabled)
    if body.get("tags") is not None:
        version.tags = body["tags"]
    version.updated = now


def update(call):
    item, version = call.found("certificate")
    body = call.body()
    apply(version, body, call.now)
    if body.get("policy"):
        item.policy = {**(item.policy or {}), **body["policy"]}
    return Response(200, shapes.certificate_bundle(call.base, item, version))


# ---- import

def unreadable(what):
    return bad_parameter(f"The specified {what} X.509 certificate content can not be read. Please check if certificate "
                         f"is in valid {what} format.")


def unwrapped(value):
    """Python's client sends the base64 of a PEM file too; others send its text."""
    try:
        return base64.b64decode(value, validate=True).decode()
    except (ValueError, binascii.Error):
        raise unreadable("PEM") from None


def read_pem(text):
    if "-----BEGIN PRIVATE KEY-----" not in text:
        raise bad_parameter("The specified PEM X.509 certificate content is invalid: an unencrypted PKCS#8 private key "
                            "is needed.")
    try:
        begin = text.index("-----BEGIN PRIVATE KEY-----")
        end = text.index("-----END PRIVATE KEY-----") + len("-----END PRIVATE KEY-----\n")
        key = serialization.load_pem_private_key(text[begin:end].encode(), None)
        blocks = text.split("-----BEGIN CERTIFICATE-----")[1:]
        chain = [x509.load_pem_x509_certificate(
            ("-----BEGIN CERTIFICATE-----" + block.split("-----END CERTIFICATE-----")[0] +
             "-----END CERTIFICATE-----\n").encode()) for block in blocks]
    except (ValueError, TypeError):
        raise unreadable("PEM") from None
    return key, chain


def read_pfx(text, password):
    try:
        data = base64.b64decode(text, validate=True)
        parsed = pkcs12.load_pkcs12(data, password.encode() if password else None)
    except (ValueError, binascii.Error) as problem:
        if "password" in str(problem).lower():
            raise bad_parameter("The specified PKCS#12 X.509 certificate password is not correct.") from None
        raise unreadable("PKCS#12") from None
    if parsed.key is None or parsed.cert is None:
        raise bad_parameter("The specified PKCS#12 X.509 certificate content has no private key.")
    return parsed.key, [parsed.cert.certificate] + [each.certificate for each in parsed.additional_certs]


def leaf_first(key, chain):
    """The leaf moves to the front, the rest keeps the order in which it came."""
    for certificate in chain:
        if public_der(certificate.public_key()) == public_der(key.public_key()):
            return [certificate] + [each for each in chain if each != certificate]
    raise bad_parameter("The private key of the certificate content does not match its public key.")


def refuse_while_pending(call):
    item = call.store.objects.get(("certificate", call.name.lower()))
    if item and item.pending:
        settle(call, item)
        if item.pending.status == "inProgress":
            raise vault_error(409, "Conflict", "A new key vault certificate can not be created or imported while a "
                              "pending key vault certificate's status is inProgress.")
    return item


def import_(call):
    call.refuse_deleted("certificate")
    refuse_while_pending(call)
    body = call.body()
    given = body.get("policy") or {}
    value = body.get("value")
    if not isinstance(value, str) or not value:
        raise bad_parameter("Property value is required.")
    content_type = (given.get("secret_props") or {}).get("contentType") or PFX
    if call.plane.strict and "-----BEGIN" in value:
        raise unreadable("PEM")
    if content_type == PEM and "-----BEGIN" not in value:
        value = unwrapped(value)
    is_pem = "-----BEGIN" in value
    if is_pem and content_type != PEM:
        raise bad_parameter("The content type of a PEM certificate must be application/x-pem-file.")
    if content_type not in (PFX, PEM) or (content_type == PEM and not is_pem):
        raise unreadable("PEM" if content_type == PEM else "PKCS#12")
    key, chain = read_pem(value) if is_pem else read_pfx(value, body.get("pwd"))
    if not supported(key):
        raise bad_parameter("The key type or size of the certificate is not supported.")
    chain = leaf_first(key, chain)
    exportable = (given.get("key_props") or {}).get("exportable", True) is not False
    item, version = call.store.add_version(
        call.name, key, chain, shapes.policy_of_import(key, chain[0], content_type, exportable, given),
        exportable=exportable, content_type=content_type)
    apply(version, body, call.now)
    return Response(200, shapes.certificate_bundle(call.base, item, version))


# ---- create, pending, merge

def request_of(key, policy):
    props = policy["x509_props"]
    try:
        builder = x509.CertificateSigningRequestBuilder().subject_name(
            x509.Name.from_rfc4514_string(props.get("subject") or ""))
        for extension, critical in extensions_of(props):
            builder = builder.add_extension(extension, critical)
    except ValueError as problem:
        raise bad_parameter(f"The property x509_props has an invalid value: {problem}") from None
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def key_for(item, policy, strict):
    props = policy["key_props"]
    if props["kty"] not in ("RSA", "RSA-HSM", "EC", "EC-HSM"):
        raise bad_parameter("The property 'kty' has an invalid value.")
    if props["kty"].startswith("RSA") and props["key_size"] not in (2048, 3072, 4096):
        raise bad_parameter("The property 'key_size' has an invalid value.")
    if props["kty"].startswith("EC") and props["crv"] not in CURVES:
        raise bad_parameter("The property 'crv' has an invalid value.")
    if strict and props["kty"].startswith("EC") and "keyEncipherment" in policy["x509_props"]["key_usage"]:
        raise bad_parameter("The key usage keyEncipherment does not go with an EC key.")
    if props.get("reuse_key") and item.versions:
        return item.versions[-1].key
    return new_key(props["kty"], props.get("key_size"), props.get("crv"))


def create(call):
    call.refuse_deleted("certificate")
    refuse_while_pending(call)
    body = call.body()
    given = body.get("policy") or {}
    props = given.get("x509_props") or {}
    if not props.get("subject") and not props.get("sans"):
        raise bad_parameter("Either the subject or the subject alternative names must be given.")
    policy = shapes.policy_of_create(given, call.now)
    if policy["issuer"]["name"] not in ("Self", "Unknown"):
        raise not_found("issuer", policy["issuer"]["name"])
    item = call.store.put("certificate", call.name)
    try:
        key = key_for(item, policy, call.plane.strict)
        item.pending = Pending(
            id=new_version_id(), created=call.now, key=key, csr=request_of(key, policy), policy=policy,
            ready_at=call.store.clock.now() + call.plane.issue_seconds, tags=body.get("tags") or {},
            attributes=body.get("attributes") or {})
    except Response:
        if not item.versions and not item.placeholder:
            call.store.remove(item)
        raise
    item.policy = policy
    item.placeholder = item.placeholder or Version(
        id=new_version_id(), created=call.now, enabled=False, not_before=call.now - 600, expires=call.now + 365 * 86400)
    where = shapes.url(call.base, "certificate", item.name, "pending")
    headers = [("Location", f"{where}?api-version={call.request.query['api-version']}&request_id={item.pending.id}"),
               ("Retry-After", str(CREATE_RETRY_AFTER))]
    return Response(202, shapes.operation(call.base, item), headers)


def settle(call, item):
    """A request to the vault's own issuer completes by itself."""
    pending = item.pending
    if pending and pending.status == "inProgress" and not pending.cancelled and pending.policy["issuer"]["name"] == "Self" and \
            call.store.clock.now() >= pending.ready_at:
        subject = pending.policy["x509_props"].get("subject") or ""
        leaf = make_leaf(pending.key, subject, pending.policy["x509_props"])
        complete(call, item, [leaf])


def complete(call, item, chain):
    pending = item.pending
    props = pending.policy["key_props"]
    kept = item.policy
    _, version = call.store.add_version(
        item.name, pending.key, chain, kept, exportable=props.get("exportable", True) is not False,
        content_type=pending.policy["secret_props"]["contentType"], hsm=props["kty"].endswith("-HSM"),
        order="root-first" if pending.policy["secret_props"]["contentType"] == PFX else "leaf-first",
        key_operations=operations_of(pending.key, pending.policy["x509_props"]["key_usage"]), tags=pending.tags)
    apply(version, {"attributes": pending.attributes}, call.now)
    pending.status = "completed"
    return version


def pending_of(call):
    item = call.store.objects.get(("certificate", call.name.lower()))
    if item is None or item.deleted_at is not None or item.pending is None:
        raise vault_error(404, "PendingCertificateNotFound", f"Pending certificate not found: {call.name}")
    settle(call, item)
    return item


def get_pending(call):
    item = pending_of(call)
    waiting = item.pending.status == "inProgress"
    headers = [("Retry-After", str(CREATE_RETRY_AFTER))] if waiting else []
    return Response(200, shapes.operation(call.base, item), headers)


def update_pending(call):
    item = pending_of(call)
    if call.body().get("cancellation_requested"):
        # The status stays as it is until the issuer has agreed; the vault does not wait for that (recorded).
        item.pending.cancelled = True
    return Response(200, shapes.operation(call.base, item))


def delete_pending(call):
    item = pending_of(call)
    shape = shapes.operation(call.base, item)
    item.pending = None
    return Response(200, shape)


def certificate_of(data):
    """DER; or, as JavaScript's client sends it and the real service takes it, the base64 or PEM of that."""
    if data[:1] != b"\x30":
        text = data.decode().replace("-----BEGIN CERTIFICATE-----", "").replace("-----END CERTIFICATE-----", "")
        data = base64.b64decode(text)
    return x509.load_der_x509_certificate(data)


def merge(call):
    item = pending_of(call)
    body = call.body()
    if item.pending.status != "inProgress":
        raise bad_parameter("The pending certificate is not in progress.")
    try:
        chain = [certificate_of(base64.b64decode(each, validate=True)) for each in body["x5c"]]
        leaf = chain[0]
    except (KeyError, IndexError, TypeError, ValueError):
        raise bad_parameter("Property x5c has invalid value") from None
    if public_der(leaf.public_key()) != public_der(item.pending.key.public_key()):
        raise bad_parameter("Public key from x509 certificate and key of this instance doesn't match")
    version = complete(call, item, chain)
    apply(version, body, call.now)
    where = shapes.url(call.base, "certificate", item.name)
    return Response(201, shapes.certificate_bundle(call.base, item, version),
                    [("Location", f"{where}?api-version={call.request.query['api-version']}")])


# ---- delete, recover, purge

def deleted_shape(call, item):
    return shapes.deleted(call.base, item, shape_of(call, item))


def shape_of(call, item):
    return shapes.certificate_bundle(call.base, item, item.latest) if item.latest else \
        shapes.partial_bundle(call.base, item)


def delete(call):
    item = call.store.objects.get(("certificate", call.name.lower()))
    if item is None:
        raise not_found("certificate", call.name)
    call.refuse_deleted("certificate")
    item.deleted_at = call.store.clock.now()
    return Response(200, deleted_shape(call, item))


def deleted_item(call):
    item = call.store.objects.get(("certificate", call.name.lower()))
    if item is None or item.deleted_at is None or call.store.is_deleting(item):
        raise vault_error(404, "CertificateNotFound", f"Deleted Certificate not found: {call.name}")
    return item


def get_deleted(call):
    return Response(200, deleted_shape(call, deleted_item(call)))


def list_deleted(call):
    rows = []
    for item in call.store.objects.values():
        if item.kind == "certificate" and item.deleted_at is not None and item.latest:
            shape = shapes.certificate_item(call.base, item, item.latest, False)
            rows.append(shapes.deleted(call.base, item, shape))
    return call.plane.page(call, rows)


def purge(call):
    call.store.remove(deleted_item(call))
    return Response(204)


def recover(call):
    item = deleted_item(call)
    item.deleted_at = None
    return Response(200, shape_of(call, item))


def routes(name, version):
    return [
        ("GET", "/certificates" + name + "/policy", "certificates/get", get_policy),
        ("PATCH", "/certificates" + name + "/policy", "certificates/update", update_policy),
        ("GET", "/certificates" + name + "/pending", "certificates/get", get_pending),
        ("PATCH", "/certificates" + name + "/pending", "certificates/update", update_pending),
        ("DELETE", "/certificates" + name + "/pending", "certificates/delete", delete_pending),
        ("POST", "/certificates" + name + "/pending/merge", "certificates/create", merge),
        ("POST", "/certificates" + name + "/create", "certificates/create", create),
        ("POST", "/certificates" + name + "/import", "certificates/import", import_),
        ("GET", "/certificates" + version, "certificates/get", get),
        ("PATCH", "/certificates" + version, "certificates/update", update),
        ("DELETE", "/certificates" + name, "certificates/delete", delete),
        ("GET", "/deletedcertificates", "certificates/list", list_deleted),
        ("GET", "/deletedcertificates" + name, "certificates/get", get_deleted),
        ("DELETE", "/deletedcertificates" + name, "certificates/purge", purge),
        ("POST", "/deletedcertificates" + name + "/recover", "certificates/recover", recover),
    ]
