#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes interface.c and interface.h from the D-Bus interface's XML.

    generate-interface.py --header FILE --source FILE XML...

What it makes: one enum and one const table each of interfaces, methods and properties, with their
signatures, and each interface's introspection text. Types are in interface-table.h. A method that
does not say who may call it (annotation org.certbroker1.Access) is an error: default deny begins here.
"""

import argparse
import re
import sys
import xml.etree.ElementTree as ElementTree

ACCESS = "org.certbroker1.Access"
BULK = "org.certbroker1.Bulk"
EMITS = "org.freedesktop.DBus.Property.EmitsChangedSignal"

ACCESS_WORDS = ("any", "read", "tls", "use", "decrypt", "export", "manage", "manage-all",
                "audit", "create-certificate", "create-in-source", "create-backend")
EMITS_WORDS = ("true", "false", "const")
BASIC_TYPES = "ybnqiuxtdsogh"


class Wrong(Exception):
    """The XML is not what it must be."""


def check_single_type(signature, position):
    """The position behind the one complete type at `position`."""
    if position >= len(signature):
        raise Wrong(f"signature '{signature}' ends too early")
    code = signature[position]
    if code in BASIC_TYPES + "v":
        return position + 1
    if code == "a":
        if signature[position + 1:position + 2] == "{":
            if signature[position + 2:position + 3] not in set(BASIC_TYPES):
                raise Wrong(f"signature '{signature}' has a dictionary whose key is no basic type")
            position = check_single_type(signature, position + 3)
            if signature[position:position + 1] != "}":
                raise Wrong(f"signature '{signature}' has a dictionary that does not end")
            return position + 1
        return check_single_type(signature, position + 1)
    if code == "(":
        position = check_single_type(signature, position + 1)
        while signature[position:position + 1] != ")":
            position = check_single_type(signature, position)
        return position + 1
    raise Wrong(f"signature '{signature}' has an unknown type '{code}'")


def check_type(signature):
    if check_single_type(signature, 0) != len(signature):
        raise Wrong(f"'{signature}' is more than one type")
    return signature


def attribute(element, name, where):
    value = element.get(name)
    if not value:
        raise Wrong(f"{where}: <{element.tag}> without {name}")
    return value


def annotations(element, where):
    found = {}
    for child in element.findall("annotation"):
        name = attribute(child, "name", where)
        if name in found:
            raise Wrong(f"{where}: annotation {name} twice")
        found[name] = attribute(child, "value", where)
    return found


def one_of(words, value, what, where):
    if value not in words:
        raise Wrong(f"{where}: {what} is '{value}', not one of {', '.join(words)}")
    return value


def upper_snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper().replace("-", "_")


class Method:
    def __init__(self, element, interface):
        self.name = attribute(element, "name", interface)
        where = f"{interface}.{self.name}"
        access = annotations(element, where).get(ACCESS)
        if access is None:
            raise Wrong(f"{where}: no annotation {ACCESS}: nobody could tell who may call it")
        self.access = one_of(ACCESS_WORDS, access, ACCESS, where)
        self.arguments = {"in": [], "out": []}
        names = set()
        for arg in element.findall("arg"):
            direction = one_of(("in", "out"), arg.get("direction"), "direction", where)
            name = attribute(arg, "name", where)
            if name in names:
                raise Wrong(f"{where}: argument {name} twice")
            names.add(name)
            self.arguments[direction].append((name, check_type(attribute(arg, "type", where))))
        if self.access.startswith("create-") and self.signature("in")[:1] != "s":
            raise Wrong(f"{where}: {self.access} takes the name from a first argument of type s")
        if self.access == "create-in-source" and self.signature("in")[:2] != "ss":
            raise Wrong(f"{where}: {self.access} takes the source from a second argument of type s")

    def signature(self, direction):
        return "".join(kind for _, kind in self.arguments[direction])

    def names(self, direction):
        return ", ".join(name for name, _ in self.arguments[direction])


class Property:
    def __init__(self, element, interface):
        self.name = attribute(element, "name", interface)
        where = f"{interface}.{self.name}"
        self.signature = check_type(attribute(element, "type", where))
        self.access = one_of(("read", "readwrite"), attribute(element, "access", where), "access",
                             where)
        notes = annotations(element, where)
        self.emits = one_of(EMITS_WORDS, notes.get(EMITS, "true"), EMITS, where)
        self.bulk = one_of(("true", "false"), notes.get(BULK, "true"), BULK, where) == "true"
        if not self.bulk and self.emits == "true":
            raise Wrong(f"{where}: a property that is in no bulk answer is in no signal either")


class Interface:
    def __init__(self, element, path):
        self.name = attribute(element, "name", path)
        self.methods = [Method(child, self.name) for child in element.findall("method")]
        self.properties = [Property(child, self.name) for child in element.findall("property")]
        self.symbol = upper_snake(self.name.rsplit(".", 1)[-1])
        self.xml = self.introspection(element)
        seen = set()
        for child in element:
            if child.tag in ("method", "property", "signal"):
                name = attribute(child, "name", self.name)
                if child.tag == "signal":
                    for arg in child.findall("arg"):
                        check_type(attribute(arg, "type", f"{self.name}.{name}"))
                if (child.tag, name) in seen:
                    raise Wrong(f"{self.name}: {child.tag} {name} twice")
                seen.add((child.tag, name))
            elif child.tag != "annotation":
                raise Wrong(f"{self.name}: unknown element <{child.tag}>")

    @staticmethod
    def introspection(element):
        """The element as text, one line an element, without comments."""
        lines = []

        def emit(node, depth):
            attributes = "".join(
                f' {key}="{value}"' for key, value in node.attrib.items())
            if re.search(r"[<>&]", attributes):
                raise Wrong(f"an attribute of <{node.tag}> needs escaping")
            if len(node):
                lines.append(f"{' ' * depth}<{node.tag}{attributes}>")
                for child in node:
                    emit(child, depth + 1)
                lines.append(f"{' ' * depth}</{node.tag}>")
            else:
                lines.append(f"{' ' * depth}<{node.tag}{attributes}/>")

        emit(element, 1)
        return lines


def read_interfaces(paths):
    interfaces = []
    for path in paths:
        for element in ElementTree.parse(path).getroot().findall("interface"):
            interfaces.append(Interface(element, path))
    names = [interface.symbol for interface in interfaces]
    for name in names:
        if names.count(name) > 1:
            raise Wrong(f"two interfaces end in {name}")
    return interfaces


def c_string(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


NOTICE = "/* Made by generate-interface.py from the D-Bus interface's XML: change that. */\n"


def emit_enum(title, prefix, names):
    lines = [f"typedef enum {title} {{"]
    lines += [f"        {prefix}_{name}," for name in names]
    lines += [f"        _{prefix}_N", f"}} {title};", ""]
    return lines


def emit_header(interfaces):
    methods = [f"{i.symbol}_{upper_snake(m.name)}" for i in interfaces for m in i.methods]
    properties = [f"{i.symbol}_{upper_snake(p.name)}" for i in interfaces for p in i.properties]
    lines = [NOTICE + "#pragma once", "", '#include "broker/bus/interface-table.h"', ""]
    lines += emit_enum("InterfaceId", "INTERFACE", [i.symbol for i in interfaces])
    lines += emit_enum("MethodId", "METHOD", methods)
    lines += emit_enum("PropertyId", "PROPERTY", properties)
    lines += ["extern const Interface interface_table[_INTERFACE_N];",
              "extern const Method method_table[_METHOD_N];",
              "extern const Property property_table[_PROPERTY_N];", ""]
    return "\n".join(lines)


def emit_source(interfaces):
    lines = [NOTICE + '#include "broker/bus/interface.h"', ""]
    lines += ["const Method method_table[_METHOD_N] = {"]
    for interface in interfaces:
        for method in interface.methods:
            lines += [
                f"        [METHOD_{interface.symbol}_{upper_snake(method.name)}] = {{",
                f"                .name = {c_string(method.name)},",
                f"                .in_signature = {c_string(method.signature('in'))},",
                f"                .out_signature = {c_string(method.signature('out'))},",
                f"                .in_names = {c_string(method.names('in'))},",
                f"                .access = ACCESS_{upper_snake(method.access)},",
                "        },"]
    lines += ["};", "", "const Property property_table[_PROPERTY_N] = {"]
    for interface in interfaces:
        for prop in interface.properties:
            lines += [
                f"        [PROPERTY_{interface.symbol}_{upper_snake(prop.name)}] = {{",
                f"                .name = {c_string(prop.name)},",
                f"                .signature = {c_string(prop.signature)},",
                f"                .writable = {'true' if prop.access == 'readwrite' else 'false'},",
                f"                .emits_changed = {'true' if prop.emits == 'true' else 'false'},",
                f"                .bulk = {'true' if prop.bulk else 'false'},",
                "        },"]
    lines += ["};", "", "const Interface interface_table[_INTERFACE_N] = {"]
    n_methods = n_properties = 0
    for interface in interfaces:
        lines += [
            f"        [INTERFACE_{interface.symbol}] = {{",
            f"                .name = {c_string(interface.name)},",
            f"                .first_method = {n_methods},",
            f"                .n_methods = {len(interface.methods)},",
            f"                .first_property = {n_properties},",
            f"                .n_properties = {len(interface.properties)},",
            "                .introspection ="]
        lines += [f"                        {c_string(line + chr(10))}" for line in interface.xml]
        lines[-1] += ","
        lines += ["        },"]
        n_methods += len(interface.methods)
        n_properties += len(interface.properties)
    lines += ["};", ""]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--header", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("xml", nargs="+")
    arguments = parser.parse_args()
    try:
        interfaces = read_interfaces(arguments.xml)
    except (Wrong, ElementTree.ParseError, OSError) as error:
        print(f"generate-interface: {error}", file=sys.stderr)
        return 1
    with open(arguments.header, "w", encoding="utf-8") as out:
        out.write(emit_header(interfaces))
    with open(arguments.source, "w", encoding="utf-8") as out:
        out.write(emit_source(interfaces))
    return 0


if __name__ == "__main__":
    sys.exit(main())
