# SPDX-License-Identifier: Apache-2.0
"""Owns org.certbroker1 on a bus as whoever runs it, answers every call with a string, and writes down which came:
name_owner.py ADDRESS FILE
"""

import sys

import dbus
import dbus.bus
import dbus.lowlevel
import dbus.mainloop.glib
from gi.repository import GLib


def main():
    address, log = sys.argv[1:]
    bus = dbus.bus.BusConnection(address, mainloop=dbus.mainloop.glib.DBusGMainLoop())

    def on_message(connection, message):
        if not isinstance(message, dbus.lowlevel.MethodCallMessage):
            return dbus.lowlevel.HANDLER_RESULT_NOT_YET_HANDLED
        with open(log, "a") as file:
            file.write(f"{message.get_member()}\n")
        reply = dbus.lowlevel.MethodReturnMessage(message)
        reply.append("unix:abstract=/nobody/channel", signature="s")
        connection.send_message(reply)
        return dbus.lowlevel.HANDLER_RESULT_HANDLED

    bus.add_message_filter(on_message)
    bus.request_name("org.certbroker1", dbus.bus.NAME_FLAG_DO_NOT_QUEUE)
    print("ready", flush=True)
    GLib.MainLoop().run()


main()
