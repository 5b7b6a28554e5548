/* SPDX-License-Identifier: Apache-2.0 */
/* Return values of PKCS#11: their names, and what each means for us. */
#pragma once

typedef enum RvClass {
        RV_CLASS_OK,
        RV_CLASS_SESSION, /* the session or handle is gone: once more on a fresh one */
        RV_CLASS_LOGIN,   /* nobody is logged in: log in, once more */
        RV_CLASS_TOKEN,   /* the token is gone: open it again */
        RV_CLASS_FAULT, /* the token or module is at fault: a few in a row, and it is opened again */
        RV_CLASS_MODULE, /* the module is not initialised (any more): open it again */
        RV_CLASS_PIN,    /* the PIN: never again on its own */
        RV_CLASS_LOAD,   /* too much at once */
        RV_CLASS_CALLER, /* what was asked for is wrong or not possible */
        RV_CLASS_ODD,    /* a vendor's own, or none that is known: it may be anything */
        RV_CLASS_STORE,  /* nothing can be written; signing goes on */
        _RV_CLASS_N
} RvClass;

typedef struct RvRow {
        const char *name; /* "CKR_DEVICE_ERROR" */
        RvClass class;
        int status; /* what a caller is told */
} RvRow;

/* Never NULL: codes of vendors, and unknown ones, have a row of their own. */
const RvRow *rv_row(unsigned long rv);
const char *rv_name(unsigned long rv);
RvClass rv_class(unsigned long rv);
