"""The reference pages are tested against the code: settings, metrics, commands, addresses."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import get_args

import pytest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from callboard import metrics
from callboard.broker import DeadReason, Outcome
from callboard.ops.queues.figures import QueueFigures
from callboard.settings import PREFIX, SUCCESSORS, YOOKASSA_NETWORKS, Settings, load_settings
from callboard.web import create_app
from callboard.web.metrics import QueueGauges, _gauges
from tests.unit.pages import PAGE, ROOT, commands, names_of, rows_of, text_of

# Settings


def default_of(name: str) -> str:
    """Return a field's default as a person would set it; empty where it is unset."""
    field = Settings.model_fields[name]
    if name == "yukassa_webhook_ips":
        return YOOKASSA_NETWORKS
    value = field.get_default(call_default_factory=True)
    if isinstance(value, bool):
        return "on" if value else "off"
    return "" if value is None or value == [] else str(value)


def test_the_settings_page_names_every_variable_with_its_default_and_no_other():
    rows = [row for row in rows_of("docs/settings.md") if len(row) == 3]
    documented = {row[0].strip("`"): row[1] for row in rows}
    assert len(documented) == len(rows), "a variable is named twice"
    assert sorted(documented) == sorted(name.upper() for name in Settings.model_fields)
    for name in Settings.model_fields:
        default = default_of(name)
        shown = f"`{default}`" if default else "unset"
        expected = "YooKassa's published networks" if name == "yukassa_webhook_ips" else shown
        assert documented[name.upper()] == expected, name


def test_the_example_of_env_names_every_variable_with_its_default_and_no_other():
    given = re.findall(r"^#([A-Z_]+)=(.*)$", text_of(".env.example"), re.MULTILINE)
    assert sorted(name for name, _ in given) == sorted(name.upper() for name in Settings.model_fields)
    assert dict(given) == {name.upper(): default_of(name) for name in Settings.model_fields}
    assert not re.search(r"^[^#\n]", text_of(".env.example"), re.MULTILINE), "a line is not commented out"


def test_the_example_of_env_with_every_line_in_force_gives_the_defaults(tmp_path):
    (tmp_path / ".env").write_text(re.sub(r"^#([A-Z_]+=)", r"\1", text_of(".env.example"), flags=re.MULTILINE))
    assert load_settings(_env_file=tmp_path / ".env") == load_settings()


def test_the_names_of_the_old_workers_are_on_the_settings_page():
    rows = rows_of("docs/settings.md", section="The old workers' names")
    assert set(names_of(rows)) == set(SUCCESSORS)
    for row in rows:
        for old in re.findall(r"`([^`]+)`", row[0]):
            assert SUCCESSORS[old].split()[0] in row[1], old


@PAGE
def test_every_variable_on_a_page_is_a_setting(page):
    known = {name.upper() for name in Settings.model_fields} | set(SUCCESSORS)
    # Of others: AWS, make, Python, compose, the image, Kubernetes; SQL that stands between backticks.
    known |= {"PORT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"}
    known |= {"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "HTTPS_PROXY", "NO_PROXY"}
    known |= {"NAME_FILE", "PYTHONPATH", "FOR UPDATE SKIP LOCKED", "MAX_…_RETRY_ATTEMPTS"}
    # Constants of the code, which test_inside_a_worker.py holds.
    known |= set(names_of(rows_of("docs/inside-a-worker.md", section="Times"), 2))
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)(?:=[^`]*)?`", page.read_text(encoding="utf-8")))
    bare = {name.removeprefix(PREFIX) for name in named}
    assert {name for name in bare if name.removesuffix("_FILE") not in known and name not in known} == set()


def test_the_ways_mail_may_leave_are_on_the_settings_page():
    providers = get_args(Settings.model_fields["email_provider"].annotation)
    page = text_of("docs/settings.md")
    assert all(f"`{name}`" in page for name in providers)


# Metrics


def instruments() -> dict[str, tuple[str, set[str]]]:
    found = {}
    for value in vars(metrics).values():
        if isinstance(value, MetricWrapperBase):
            kind = next(cls.__name__.lower() for cls in (Counter, Gauge, Histogram) if isinstance(value, cls))
            name = value._name + ("_total" if kind == "counter" else "")
            found[name] = (kind, set(value._labelnames))
    return found


def gauges() -> dict[str, tuple[str, set[str]]]:
    queue = QueueFigures("emails", 1, 1, 1, 1, 1.0, 1)
    collector = QueueGauges(SimpleNamespace())  # type: ignore[arg-type]
    collector._asked_at, collector._gauges = float("inf"), _gauges([queue], {"emails": 1}, {"emails": 0.5})
    return {
        family.name + ("_total" if family.type == "counter" else ""): (family.type, set(family.samples[0].labels))
        for family in collector.collect()
    }


def documented_metrics(section: str) -> dict[str, tuple[str, set[str]]]:
    rows = rows_of("docs/metrics.md", section=section)
    return {row[0].strip("`"): (row[1], {label for label in row[2].split(", ") if label}) for row in rows}


def test_every_instrument_is_on_the_metrics_page_with_type_and_labels():
    assert documented_metrics("What every process of the service counts") == instruments()


def test_every_gauge_of_the_api_is_on_the_metrics_page_with_type_and_labels():
    assert documented_metrics("What only the API shows") == gauges()


@PAGE
def test_every_metric_on_a_page_exists(page):
    known = {*instruments(), *gauges()}
    known |= {f"{name}_{part}" for name in known for part in ("bucket", "sum", "count")}
    tables = {"callboard_metrics", "callboard_middleware"}
    named = set(re.findall(r"\bcallboard_[a-z_]+\b", page.read_text(encoding="utf-8")))
    assert named - known - tables == set()


def test_outcomes_and_reasons_are_listed():
    page = text_of("docs/metrics.md")
    for word in (*Outcome, *DeadReason):
        assert f"`{word.value}`" in page
    reasons = names_of(rows_of("docs/message-lifecycle.md", section="5. Verdict"))
    assert set(reasons) == {reason.value for reason in DeadReason}


# Commands


def test_every_command_has_its_heading_and_no_other():
    headings = re.findall(r"^### `callboard ([^`]+)`$", text_of("docs/cli.md"), re.MULTILINE)
    assert sorted(headings) == sorted(commands())


def test_every_option_stands_under_its_command():
    sections = re.split(r"^###? ", text_of("docs/cli.md"), flags=re.MULTILINE)
    for name, command in commands().items():
        (section,) = [part for part in sections if part.startswith(f"`callboard {name}`")]
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.name != "output":
                assert parameter.opts[0] in section, f"{name} {parameter.opts[0]}"
        takes_output = any(parameter.name == "output" for parameter in command.params)
        assert takes_output == ("Takes `-o`" in section), name


# HTTP


@pytest.fixture(scope="module")
def api():
    return create_app(Settings(_env_file=None), SimpleNamespace())  # type: ignore[arg-type, call-arg]


def test_every_address_of_the_api_has_its_heading_and_no_other(api):
    routes = {f"{method.upper()} {path}" for path, item in api.openapi()["paths"].items() for method in item}
    headings = re.findall(r"^### ([A-Z]+ /\S*)$", text_of("docs/http-api.md"), re.MULTILINE)
    assert sorted(headings) == sorted({*routes, "GET /openapi.json"})


def test_every_error_code_of_the_api_is_on_its_page():
    codes = set()
    for path in (ROOT / "callboard/web").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        codes |= {code for _, code in re.findall(r"ApiError\(\s*(\d+),\s*\"([a-z_]+)\"", source)}
        codes |= set(re.findall(r"_refuse\(\w+, \d+, \"([a-z_]+)\"", source))
        codes |= set(re.findall(r"error_body\(\"([a-z_]+)\"", source))
    page = text_of("docs/http-api.md")
    assert len(codes) > 10
    assert {code for code in codes if not re.search(rf"[`\s]{code}`", page)} == set()
