"""Validates a JUnit file and a SARIF file against their schemas, opens them in the readers that
people use, and prints what these found in them as a line of JSON.

    python read.py JUNIT JUNIT_SCHEMA SARIF SARIF_SCHEMA
"""

import json
import sys

import jsonschema
import junitparser
import xmlschema
from sarif import loader


def main() -> None:
    junit, junit_schema, sarif, sarif_schema = sys.argv[1:]
    xmlschema.XMLSchema(junit_schema).validate(junit)
    with open(sarif_schema) as schema, open(sarif) as log:
        jsonschema.validate(json.load(log), json.load(schema))

    suites = junitparser.JUnitXml.fromfile(junit)
    cases = [case for suite in suites for case in suite]
    messages = [result.message for case in cases for result in case.result]
    files = loader.load_sarif_file(sarif)
    print(
        json.dumps(
            {
                "tests": suites.tests,
                "failures": suites.failures,
                "errors": suites.errors,
                "cases": [case.name for case in cases],
                "messages": messages,
                "records": files.get_records(),
            }
        )
    )


if __name__ == "__main__":
    main()
