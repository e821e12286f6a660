"""Judged limits as JUnit XML, which continuous integration systems show as tests."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from safediffusion.evaluation.gate.limit import Judged
from safediffusion.text.escaping import plain


def junit_xml(model: str, judged: Sequence[Judged]) -> str:
    """One test case per limit: a failure where it is broken, an error where its metric has no value.

    Args:
        model: what was evaluated, the name of the suite.
        judged: the limits.
    """
    errors = sum(not one.measured for one in judged)
    counts = {
        "tests": str(len(judged)),
        "failures": str(sum(one.broken for one in judged) - errors),
        "errors": str(errors),
    }
    root = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(root, "testsuite", {"name": plain(model), **counts})
    suite.extend(map(_case, judged))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(one: Judged) -> ElementTree.Element:
    task = one.limit.metric.partition("/")[0]
    case = ElementTree.Element("testcase", {"classname": plain(task), "name": plain(one.limit.text)})
    if one.broken:
        kind = "failure" if one.measured else "error"
        ElementTree.SubElement(case, kind, {"message": plain(one.line), "type": "limit"})
    else:
        ElementTree.SubElement(case, "system-out").text = plain(one.line)
    return case
