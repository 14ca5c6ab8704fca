"""Whatever is asked, answers are as the OpenAPI description says (a small run of Schemathesis)."""

from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving import Running

CHECKS: list[Any] = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]
FEW = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_answers_are_as_described(service: Running) -> None:
    described = schemathesis.openapi.from_url(f"{service.address}openapi.json")
    found: Any = described.get_all_operations()
    operations = [each.ok() for each in found]
    assert len(operations) == 11
    for operation in operations:

        @FEW
        @given(operation.as_strategy())
        def answered(case: Any) -> None:
            case.call_and_validate(checks=CHECKS)

        answered()
