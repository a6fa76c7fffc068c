"""The image and its composition say what the project has: extras, a configuration, settings, and a user without rights."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmthrift_core.service.config import load_configuration

ROOT = Path(__file__).parents[3]
IMAGE = (ROOT / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def composed() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return found


def test_the_configuration_can_be_loaded(composed: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "llmthrift.toml").write_text(composed["configs"]["llmthrift"]["content"])
    loaded = load_configuration(tmp_path / "llmthrift.toml")
    assert list(loaded.tiers) == ["economy", "premium"]
    assert len(loaded.made_budgets()) == 1
    target = composed["services"]["llmthrift"]["configs"][0]["target"]
    assert f'"--config", "{target}"' in IMAGE


def test_the_image_has_what_the_composition_needs(composed: dict[str, Any]) -> None:
    extras = set(re.search(r"'\.\[(.*)\]'", IMAGE)[1].split(","))  # type: ignore[index]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras <= set(project)
    urls = {name: composed["services"]["llmthrift"]["environment"][name] for name in ("LLMTHRIFT_URL", "LLMTHRIFT_VALKEY_URL")}
    assert urls["LLMTHRIFT_URL"].startswith("postgresql://")
    assert urls["LLMTHRIFT_VALKEY_URL"].startswith("valkey://")
    assert {"service", "postgres", "valkey"} <= extras
    assert "noeviction" in composed["services"]["valkey"]["command"]


def test_the_service_has_no_rights(composed: dict[str, Any]) -> None:
    users = re.findall(r"^USER (\S+)", IMAGE, re.MULTILINE)
    assert users[-1].isdigit()
    assert int(users[-1]) > 0
    assert IMAGE.index("USER ") < IMAGE.index("ENTRYPOINT")
    service = composed["services"]["llmthrift"]
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    secrets = {name: value for each in composed["services"].values() for name, value in each.get("environment", {}).items()}
    for name in ("POSTGRES_PASSWORD", "OPENAI_API_KEY", "LLMTHRIFT_URL"):  # none stands in the file, and none has a default
        assert ":?" in secrets[name]
