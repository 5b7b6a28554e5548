# SPDX-License-Identifier: Apache-2.0
"""Faults: rules that stand between a request and its answer, switched on and off through the control endpoint.

A rule is {"at": listener, "match": regular expression on "METHOD PATH?QUERY", "skip": n, "times": n, "do": {"kind": …}}.
All that fit apply, the first outermost. The kinds are in `kinds`, the named rules (V1 to V28) in `catalogue`.
"""

import itertools
import re

from . import catalogue, kinds


class Faults:
    def __init__(self, service):
        self.service = service
        self.rules = []
        self._ids = itertools.count(1)

    async def add(self, rule):
        """A rule, or the name of one in the catalogue with what is to be different in it. Returns it, with its id.

        Some names stand for a setting (a network that drops, say): those stay until they are set back.
        """
        rule = dict(rule)
        if "name" in rule:
            rule = catalogue.expand(rule)
        if "settings" in rule:
            await self.service.control.application.patch_settings(rule["settings"])
            return {**rule, "id": 0}
        if rule["do"]["kind"] not in kinds.KINDS:
            raise ValueError(f"no such fault: {rule['do']['kind']}")
        made = {"id": next(self._ids), "at": "vault", "match": "", "skip": 0, "times": None, "hits": 0, **rule}
        re.compile(made["match"])
        self.rules.append(made)
        return made

    def remove(self, number=None):
        self.rules = [rule for rule in self.rules if number is not None and rule["id"] != number]

    def matching(self, request):
        line = f"{request.method} {request.target}"
        for rule in list(self.rules):
            if rule["at"] not in ("any", request.listener.name) or not re.search(rule["match"], line):
                continue
            if rule["skip"] > 0:
                rule["skip"] -= 1
                continue
            if rule["times"] is not None:
                if rule["times"] <= 0:
                    continue
                rule["times"] -= 1
            rule["hits"] += 1
            yield rule

    def around(self, application):
        """The application with the faults in front of it."""
        async def answer(request):
            rules = list(self.matching(request))
            if rules:
                request.entry["fault"] = [rule.get("name") or rule["do"]["kind"] for rule in rules]
            return await self._apply(rules, request, application)
        return answer

    async def _apply(self, rules, request, application):
        if not rules:
            return await application(request)
        first, *rest = rules

        async def proceed():
            return await self._apply(rest, request, application)

        kind = kinds.KINDS[first["do"]["kind"]]
        options = {name: value for name, value in first["do"].items() if name != "kind"}
        return await kind(self.service, request, proceed, **options)
