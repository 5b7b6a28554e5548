/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which function answers which method. A method without a row here is in the interface, is checked like
 * any other, and answers NotSupported.
 */
#include "broker/bus/room.h"

void peer_ping(Call *call, DBusMessage *message)
{
        call_answer_empty(call);
}

void peer_get_machine_id(Call *call, DBusMessage *message)
{
        char *id = dbus_try_get_local_machine_id(NULL);
        Value value = value_string(id);

        if (id)
                call_answer_value(call, &value);
        else
                call_fail_standard(call, DBUS_ERROR_FILE_NOT_FOUND, "this machine has no id");
        dbus_free(id);
}

const MethodHandler method_handlers[_METHOD_N] = {
        [METHOD_MANAGER_IMPORT_CERTIFICATE] = manager_import_certificate,
        [METHOD_MANAGER_GENERATE_KEY] = manager_generate_key,
        [METHOD_MANAGER_REGISTER_CERTIFICATE] = manager_register_certificate,
        [METHOD_MANAGER_CREATE_BACKEND] = manager_create_backend,
        [METHOD_MANAGER_GET_CERTIFICATE] = manager_get_certificate,
        [METHOD_MANAGER_LIST_CERTIFICATES] = manager_list_certificates,
        [METHOD_MANAGER_CHECK_ACCESS] = manager_check_access,
        [METHOD_MANAGER_GET_METRICS] = manager_get_metrics,
        [METHOD_MANAGER_OPEN_AUDIT] = manager_open_audit,
        [METHOD_MANAGER_RELOAD] = manager_reload,
        [METHOD_CERTIFICATE_SIGN] = certificate_sign,
        [METHOD_CERTIFICATE_SIGN_TLS] = certificate_sign_tls,
        [METHOD_CERTIFICATE_DECRYPT] = certificate_decrypt,
        [METHOD_CERTIFICATE_CREATE_REQUEST] = certificate_create_request,
        [METHOD_CERTIFICATE_INSTALL_CERTIFICATE] = certificate_install_certificate,
        [METHOD_CERTIFICATE_SET_CURRENT] = certificate_set_current,
        [METHOD_CERTIFICATE_RETIRE] = certificate_retire,
        [METHOD_CERTIFICATE_GET_CHAIN] = certificate_get_chain,
        [METHOD_CERTIFICATE_EXPORT] = certificate_export,
        [METHOD_CERTIFICATE_REFRESH] = certificate_refresh,
        [METHOD_CERTIFICATE_SET_ENABLED] = certificate_set_enabled,
        [METHOD_CERTIFICATE_DELETE] = certificate_delete,
        [METHOD_BACKEND_GET_CREDENTIAL] = backend_get_credential,
        [METHOD_BACKEND_CHANGE] = backend_change,
        [METHOD_BACKEND_DELETE] = backend_delete,
        [METHOD_SOURCE_REFRESH] = source_refresh,
        [METHOD_SOURCE_UNLOCK] = source_unlock,
        [METHOD_INTROSPECTABLE_INTROSPECT] = introspect,
        [METHOD_PEER_PING] = peer_ping,
        [METHOD_PEER_GET_MACHINE_ID] = peer_get_machine_id,
        [METHOD_PROPERTIES_GET] = properties_get,
        [METHOD_PROPERTIES_GET_ALL] = properties_get_all,
        [METHOD_PROPERTIES_SET] = properties_set,
        [METHOD_OBJECT_MANAGER_GET_MANAGED_OBJECTS] = manager_get_managed_objects,
};
