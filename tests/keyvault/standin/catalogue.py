# SPDX-License-Identifier: Apache-2.0
"""The faults V1 to V28 by name."""

FAULTS = {}


def expand(rule):
    """The named rule, with what the caller wants different."""
    name = rule["name"]
    if name not in FAULTS:
        raise ValueError(f"no such fault: {name}")
    do = {**FAULTS[name]["do"], **rule.get("do", {})}
    return {**FAULTS[name], **rule, "do": do}
