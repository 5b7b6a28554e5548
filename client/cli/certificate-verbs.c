/* SPDX-License-Identifier: Apache-2.0 */
/* The table of `certbroker certificate`: what each verb takes, and what the help says of it. */
#include "certificate.h"
#include "secret.h"
#include "sign.h"

#define OPTION_OUTPUT(required)                                                                    \
        {                                                                                          \
                "--output", "FILE", "write to FILE (-o FILE), else to standard output", required,  \
                        false                                                                      \
        }

static const Option list_options[] = {
        { "--expiring", "TIME", "only those that expire within TIME, as 30d or 12h" },
        { NULL },
};
static const Option import_options[] = {
        { "--source", "SOURCE", "where the key is to live: see `certbroker source list`", true },
        { "--replace", NULL, "ID exists, and this becomes its next generation" },
        { "--extractable", NULL, "`certificate export` may take the key out again" },
        { "--force", NULL, "publish it though names are missing that the last generation had, or its dates are against it" },
        OPTION_PASSPHRASE,
        { NULL },
};
static const Option generate_options[] = {
        { "--source", "SOURCE", "where the key is to be made: see `certbroker source list`", true },
        { "--type", "TYPE", "rsa-2048 rsa-3072 rsa-4096 ec-p256 ec-p384 ec-p521 ed25519", true },
        { "--replace", NULL, "ID exists, and this becomes its next generation" },
        { NULL },
};
static const Option register_options[] = {
        { "--source", "SOURCE", "needed only where several sources serve the URI" },
        { NULL },
};
static const Option request_options[] = {
        { "--subject", "DN", "the subject, as \"CN=orders,O=Example\" (RFC 4514)", true },
        { "--san", "NAME", "a further name: DNS:x, IP:x, URI:x or email:x", false, true },
        OPTION_OUTPUT(false),
        { NULL },
};
static const Option install_options[] = {
        { "--force", NULL, "publish it though names are missing that the last generation had, or its dates are against it" },
        { NULL },
};
static const Option delete_options[] = {
        { "--destroy-key", NULL, "destroy the key in its source too; else it stays there" },
        { NULL },
};
static const Option export_options[] = {
        OPTION_OUTPUT(true),
        { "--format", "FORMAT", "pkcs12 (default) or pem" },
        OPTION_PASSPHRASE,
        { NULL },
};
static const Option output_options[] = {
        OPTION_OUTPUT(false),
        { NULL },
};
static const Option sign_options[] = {
        { "--algorithm", "ALGORITHM", "as ecdsa-sha256; `certificate show` lists the key's", true },
        { "--in", "FILE", "what to sign; else standard input" },
        OPTION_OUTPUT(false),
        { NULL },
};

const Verb certificate_verbs[] = {
        { "list",
          { NULL },
          list_options,
          verb_certificate_list,
          "List the certificates",
          "Lists every certificate that you may read, by its id.",
          "certbroker certificate list --expiring 30d" },
        { "show",
          { "SELECTOR" },
          NULL,
          verb_certificate_show,
          "Show all that is known of one",
          "SELECTOR is an id; a thumbprint (SHA-1 or SHA-256, also of an older generation); or\n"
          "\"subject=DN\".",
          "certbroker certificate show orders" },
        { "import",
          { "ID", "FILE" },
          import_options,
          verb_certificate_import,
          "Store a PKCS#12 or PEM bundle in a source",
          "Stores the private key and its certificates in a source, where the key cannot be taken "
          "out\n"
          "again, and calls the result ID. FILE is PKCS#12 (.p12, .pfx) or PEM with key and chain; "
          "`-`\n"
          "is standard input. Delete FILE afterwards: it still holds the key.",
          "certbroker certificate import orders orders.p12 --source hsm" },
        { "generate",
          { "ID" },
          generate_options,
          verb_certificate_generate,
          "Make a new key in a source",
          "The key is made in the source and never leaves it. It waits as `pending` for a "
          "certificate:\n"
          "make a request for it, have that signed by your authority, and install the answer.",
          "certbroker certificate generate orders --source hsm --type ec-p256\n"
          "certbroker certificate request orders --subject CN=orders -o orders.csr\n"
          "certbroker certificate install orders orders-chain.pem" },
        { "register",
          { "ID", "URI" },
          register_options,
          verb_certificate_register,
          "Use a key that is in a source already",
          "URI is a pkcs11: URI (RFC 7512), or a vault certificate's identifier: without a version "
          "its\n"
          "rotations are followed, with one it is pinned.",
          "certbroker certificate register orders 'pkcs11:token=prod;object=orders'" },
        { "request",
          { "ID" },
          request_options,
          verb_certificate_request,
          "Make a request for an authority",
          "Writes a certificate request (PKCS#10, PEM), signed by the newest generation's key.",
          "certbroker certificate request orders --subject CN=orders,O=Example "
          "--san DNS:orders.example -o orders.csr" },
        { "install",
          { "ID", "FILE" },
          install_options,
          verb_certificate_install,
          "Install the certificate for a pending key",
          "FILE holds the certificate for the key, and what is between it and its root: PEM or "
          "DER, in\n"
          "any order. For a key that has one already it is a renewal: the next generation.",
          "certbroker certificate install orders orders-chain.pem" },
        { "refresh",
          { "ID" },
          NULL,
          verb_certificate_refresh,
          "Look it up in its source now",
          "Looks at once for a newer certificate or key in the source.",
          "certbroker certificate refresh orders" },
        { "enable",
          { "ID" },
          NULL,
          verb_certificate_enable,
          "Let it be used again",
          "Undoes `disable`.",
          "certbroker certificate enable orders" },
        { "disable",
          { "ID" },
          NULL,
          verb_certificate_disable,
          "Stop every use of it",
          "Gateways that use it fail from the next signature on, until it is enabled again.",
          "certbroker certificate disable orders" },
        { "rollback",
          { "ID", "GENERATION" },
          NULL,
          verb_certificate_rollback,
          "Make another generation the current one",
          "Back to an older generation that may still sign, or forward again. `certificate show` "
          "lists\n"
          "the generations.",
          "certbroker certificate rollback orders 3" },
        { "retire",
          { "ID", "GENERATION" },
          NULL,
          verb_certificate_retire,
          "End an older generation at once",
          "That generation never signs again: for a key that is known to others. Not the current "
          "one.",
          "certbroker certificate retire orders 3" },
        { "delete",
          { "ID" },
          delete_options,
          verb_certificate_delete,
          "Forget it, unless a backend uses it",
          "Refused (exit status 5) while a backend uses it. The key stays in its source, unless\n"
          "--destroy-key is given.",
          "certbroker certificate delete orders" },
        { "export",
          { "ID" },
          export_options,
          verb_certificate_export,
          "Take an extractable key out again",
          "Writes key and chain to a file that only you may read. Only for a key that was imported "
          "with\n"
          "--extractable, and only for who has the grant `export`.",
          "certbroker certificate export orders -o orders.p12" },
        { "chain",
          { "ID" },
          output_options,
          verb_certificate_chain,
          "Write its chain as PEM",
          "The certificate and what is between it and its root, leaf first: a gateway's "
          "certificate\n"
          "file.",
          "certbroker certificate chain orders -o /etc/nginx/orders.crt" },
        { "key",
          { "ID" },
          output_options,
          verb_certificate_key,
          "Write its key file: a reference, no secret",
          "A PEM file for a gateway in place of a private key: it holds a reference to the key and "
          "its\n"
          "public half. Every program that reads PEM keys with OpenSSL 3 can use it, once the "
          "provider\n"
          "`certbroker` is activated in its openssl.cnf.",
          "certbroker certificate key orders -o /etc/nginx/orders.key" },
        { "sign",
          { "ID" },
          sign_options,
          verb_certificate_sign,
          "Sign a file",
          "Hashes the file as the algorithm asks and writes the signature, in binary.",
          "certbroker certificate sign orders --algorithm ecdsa-sha256 --in report.pdf -o "
          "report.sig" },
        { NULL },
};
