/* SPDX-License-Identifier: Apache-2.0 */
/* The operations that the provider implements: a table of algorithms each, closed by a NULL name. */
#pragma once

const struct ossl_algorithm_st *decoder_algorithms(void);
const struct ossl_algorithm_st *keymgmt_algorithms(void);
const struct ossl_algorithm_st *signature_algorithms(void);
const struct ossl_algorithm_st *store_algorithms(void);
