"""Fixtures: a running endpoint, and clients that do not wait between retries."""

import pytest
from chat_endpoint import chat_endpoint

from dramaeval.evaluation.endpoint.client import ChatClient
from dramaeval.evaluation.endpoint.usage import Usage
from dramaeval.models.api_model import ApiModel


@pytest.fixture
def endpoint():
    with chat_endpoint() as server:
        yield server


@pytest.fixture
def client_of(endpoint, tmp_path):
    """client_of(retries=2): a client of the endpoint with a cache in the test's folder."""
    clients = []

    def build(**settings):
        settings = {"cache": str(tmp_path / "cache"), "retries": 3, **settings}
        model = ApiModel(base_url=endpoint.url, name="listener-1", **settings)
        clients.append(ChatClient(model, Usage(), backoff=0.001))
        return clients[-1]

    yield build
    for client in clients:
        client.close()
