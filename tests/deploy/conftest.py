from __future__ import annotations

import pytest

from tests.deploy.rendering import OVERLAYS, Manifest, render


@pytest.fixture(params=["base", *(f"overlays/{overlay}" for overlay in OVERLAYS)])
def objects(request: pytest.FixtureRequest) -> list[Manifest]:
    return render(f"k8s/{request.param}")


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> list[Manifest]:
    return render(f"k8s/overlays/{request.param}")
