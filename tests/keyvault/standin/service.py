# SPDX-License-Identifier: Apache-2.0
"""The whole stand-in: its listeners, and what they share. Built first to last in the order of dependence."""

import asyncio
import pathlib

from .authority import Contexts
from .control import Control
from .dataplane import DataPlane
from .faults import Faults
from .identities import Clock, Identities, TENANT
from .issuing import Issuing
from .login import Login
from .metadata import APP_SERVICE_PATH, ARC_PATH, Metadata, Resources
from .store import Store, pem_of
from .web import Listener, Log, Response

PORTS = ("vault", "login", "metadata", "elsewhere", "elsewhere-http", "control")


class Service:
    def __init__(self, folder, ports=None, arc_folder=None):
        ports = ports or {}
        self.folder = pathlib.Path(folder)
        self.stopping = asyncio.Event()
        self.latency = {}
        self.log = Log()
        self.clock = Clock()
        self.contexts = Contexts(self.folder)
        self.identities = Identities(self.clock)
        self.resources = Resources()
        self.issuing = Issuing()
        (self.folder / "issuing-root.pem").write_text(pem_of(self.issuing.root))
        self.store = Store(self.clock)
        self.faults = Faults(self)
        self.plane = DataPlane(self.store, self.identities, self.resources, self.authority)
        self.login = Login(self.identities, self.resources)
        self.metadata = Metadata(self.identities, self.resources, arc_folder or self.folder / "arc-tokens")
        good = self.contexts.get()

        def listener(name, application, context=None):
            return Listener(name, application, self.log, ports.get(name, 0), context)

        self.listeners = {each.name: each for each in (
            listener("vault", self.faults.around(self.slowed(self.plane)), good),
            listener("login", self.faults.around(self.slowed(self.login)), good),
            listener("metadata", self.faults.around(self.slowed(self.metadata))),
            # hosts that nothing has to be sent to: they take everything, and remember it
            listener("elsewhere", self.faults.around(self.anything), good),
            listener("elsewhere-http", self.faults.around(self.anything)))}
        self.control = Listener("control", Control(self), Log(), ports.get("control", 0))

    async def start(self):
        for each in self.listeners.values():
            each.open()
        self.control.open()

    async def reset(self):
        """As it was when it started, on the same ports, with the same keys of its own, and an empty log."""
        self.latency = {}
        self.clock.offset = 0
        self.resources.more = []
        self.faults.remove()
        for part in (self.identities, self.store, self.plane):
            part.reset()
        for each in self.listeners.values():
            each.context = self.contexts.get() if each.context else None
            if each.mode != "open":
                each.open()
            each.disconnect()
        self.log.entries.clear()

    async def stop(self):
        for each in (*self.listeners.values(), self.control):
            each.close()
        self.metadata.forget()

    def slowed(self, application):
        """Latency is the usual state of a network, not a fault: {"vault": 0.4, "POST /keys": 0.05}."""
        async def answer(request):
            line = f"{request.method} {request.path}"
            for start, seconds in self.latency.items():
                if start == request.listener.name or line.startswith(start):
                    await asyncio.sleep(seconds)
                    break
            return await application(request)
        return answer

    async def anything(self, request):
        return Response(200, {"value": "elsewhere"})

    def authority(self):
        return f"https://login.localhost:{self.listeners['login'].port}"

    def describe(self):
        port = {name: each.port for name, each in self.listeners.items()}
        metadata = f"http://127.0.0.1:{port['metadata']}"
        return {
            "url": f"https://localhost:{port['vault']}",
            "named_url": f"https://contoso.vault.localhost:{port['vault']}",
            "ca_file": str(self.contexts.ca_file), "issuing_ca_file": str(self.folder / "issuing-root.pem"),
            "authority": self.authority(), "tenant": TENANT,
            "metadata": metadata, "imds": metadata, "app_service": metadata + APP_SERVICE_PATH,
            "app_service_header": self.metadata.identity_header, "arc": metadata + ARC_PATH,
            "arc_folder": str(self.metadata.arc_folder),
            "elsewhere": f"https://elsewhere.localhost:{port['elsewhere']}",
            "elsewhere_http": f"http://elsewhere.localhost:{port['elsewhere-http']}",
            "control": f"http://127.0.0.1:{self.control.port}", "ports": port,
            "identities": {each.name: {"kind": each.kind, "client_id": each.client_id, "object_id": each.object_id,
                                       "tenant": each.tenant, "resource_id": each.resource_id,
                                       "secret": each.secret, "permissions": sorted(each.permissions)}
                           for each in self.identities.by_name.values()}}
