/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Outcomes: the one list of everything that a caller may be told.
 *
 * Every function of the project returns an int: 0 done; below 0 a negative errno, the caller's own
 * surroundings failed; above 0 one of these. A row is: value, name of the D-Bus error below
 * "org.certbroker1.Error.", word in audit log and metrics, exit status of the certbroker CLI.
 */
#pragma once

#define CB_STATUS_MAP(X)                                                                           \
        X(CB_FAILED, "Failed", "failed", 1)                                                        \
        X(CB_NOT_FOUND, "NotFound", "not-found", 3)                                                \
        X(CB_ALREADY_EXISTS, "AlreadyExists", "already-exists", 1)                                 \
        X(CB_INVALID_ARGUMENT, "InvalidArgument", "invalid-argument", 1)                           \
        X(CB_ACCESS_DENIED, "AccessDenied", "access-denied", 4)                                    \
        X(CB_IN_USE, "InUse", "in-use", 5)                                                         \
        X(CB_NOT_SUPPORTED, "NotSupported", "not-supported", 1)                                    \
        X(CB_EXPIRED, "Expired", "expired", 1)                                                     \
        X(CB_DISABLED, "Disabled", "disabled", 1)                                                  \
        X(CB_PENDING, "Pending", "pending", 1)                                                     \
        X(CB_SOURCE_UNAVAILABLE, "SourceUnavailable", "source-unavailable", 6)                     \
        X(CB_SOURCE_LOCKED, "SourceLocked", "source-locked", 6)                                    \
        X(CB_SOURCE_DENIED, "SourceDenied", "source-denied", 4)                                    \
        X(CB_THROTTLED, "Throttled", "throttled", 1)                                               \
        X(CB_RATE_LIMITED, "RateLimited", "rate-limited", 1)                                       \
        X(CB_LIMIT_EXCEEDED, "LimitExceeded", "limit-exceeded", 1)                                 \
        X(CB_TIMED_OUT, "TimedOut", "timed-out", 1)                                                \
        X(CB_BAD_PASSPHRASE, "BadPassphrase", "bad-passphrase", 1)                                 \
        X(CB_BAD_BUNDLE, "BadBundle", "bad-bundle", 1)                                             \
        X(CB_KEY_MISMATCH, "KeyMismatch", "key-mismatch", 1)                                       \
        X(CB_UNREACHABLE, "Unreachable", "unreachable", 6)

/* CB_UNREACHABLE never crosses the bus: the client library says it when there is no broker. */

enum cb_status {
        CB_OK = 0,
#define CB_STATUS_ENUM(value, name, word, exit_status) value,
        CB_STATUS_MAP(CB_STATUS_ENUM)
#undef CB_STATUS_ENUM
        _CB_STATUS_N
};

#define CB_ERROR_PREFIX "org.certbroker1.Error."
