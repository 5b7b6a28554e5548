# SPDX-License-Identifier: Apache-2.0
"""Prints, as JSON, the broker's signals that reach whoever runs it, until a line comes on standard input."""

import json
import sys
import threading

import dbus
import dbus.bus
import dbus.mainloop.glib
from gi.repository import GLib


def main():
    loop, received = GLib.MainLoop(), []
    connection = dbus.bus.BusConnection(sys.argv[1], mainloop=dbus.mainloop.glib.DBusGMainLoop())

    def on_signal(*arguments, interface, member, path):
        if interface != "org.freedesktop.DBus":
            subject = str(arguments[0]) if member.startswith("Interfaces") else str(path)
            received.append([subject, str(member)])

    connection.add_signal_receiver(on_signal, interface_keyword="interface", member_keyword="member",
                                   path_keyword="path")
    connection.call_blocking("org.certbroker1", "/org/certbroker1", "org.freedesktop.DBus.Peer", "Ping", "", ())
    print("ready", flush=True)

    def stop():
        sys.stdin.readline()
        GLib.idle_add(end)

    def end():
        # a round trip, so that what was sent before is here
        connection.call_async("org.freedesktop.DBus", "/", "org.freedesktop.DBus.Peer", "Ping", "", (),
                              lambda *a: loop.quit(), lambda *a: loop.quit())

    threading.Thread(target=stop, daemon=True).start()
    loop.run()
    print(json.dumps(received))


main()
