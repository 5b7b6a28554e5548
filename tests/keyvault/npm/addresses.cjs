// SPDX-License-Identifier: Apache-2.0
// Preloaded: the real service's names lead to the test vault's ports, and no other name leads anywhere. TLS still
// verifies the name that was asked for.
"use strict";
const tls = require("tls");

const info = JSON.parse(process.env.TEST_VAULT);
const ports = { "contoso.vault.azure.net": info.ports.vault, "login.microsoftonline.com": info.ports.login };
const connect = tls.connect;

tls.connect = function (options, ...more) {
    const port = ports[options.host];
    if (!port)
        throw new Error(`${options.host} is not the test vault's`);
    return connect.call(this, { ...options, servername: options.servername || options.host, host: "127.0.0.1", port },
                        ...more);
};
