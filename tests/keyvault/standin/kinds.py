# SPDX-License-Identifier: Apache-2.0
"""The kinds of faults: each gets the request and `proceed()`, which makes the right answer, and returns another one."""

import asyncio

from .web import Response


async def _status(service, request, proceed, status=500, body="", headers=(), content_type=None):
    content_type = content_type or ("application/json" if isinstance(body, dict) else "text/plain")
    return Response(status, body, [tuple(each) for each in headers], content_type=content_type)


async def _delay(service, request, proceed, seconds=1.0):
    await asyncio.sleep(seconds)
    return await proceed()


KINDS = {"status": _status, "delay": _delay}
