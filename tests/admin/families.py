"""Parses OpenMetrics from standard input; prints each family's name, type and unit."""

import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

for family in text_string_to_metric_families(sys.stdin.read()):
    assert family.documentation, family.name
    assert family.samples, family.name
    print(family.name, family.type, family.unit or "-")
