from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from rlm_graph.models import ask, chat_model, has_price, reads, window
from rlm_graph.models.library import facts
from rlm_graph.settings import ModelPrice, ModelSettings
from rlm_graph.testing import ScriptedModel

HERE = ModelSettings(base_url="http://127.0.0.1:8000/v1")


class OfAnotherPackage(ScriptedModel):
    """A model object as another integration brings it: it tells its provider, not litellm's name."""

    provider: str = "openai"

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        return {**super()._get_ls_params(stop, **kwargs), "ls_provider": self.provider}


@pytest.mark.parametrize(
    ("name", "priced"),
    [
        ("gpt-4o", True),
        ("openai/gpt-4o", True),
        ("anthropic/claude-sonnet-4-5", True),
        ("gemini/gemini-2.5-pro", True),
        ("vertex_ai/gemini-2.5-pro", True),
        ("openai/qwen3:8b", False),
        ("hosted_vllm/gpt-4o", False),
        ("ollama/a-model-that-nobody-lists", False),
    ],
)
def test_a_price_is_known_for_the_provider_that_asks_it(name: str, priced: bool) -> None:
    assert has_price(name) is priced
    assert has_price(chat_model(name)) is priced


def test_a_price_in_the_settings_is_known() -> None:
    settings = ModelSettings(base_url=HERE.base_url, prices={"m": ModelPrice(input_usd=0, output_usd=0)})

    assert has_price("m", settings)
    assert has_price(chat_model("m", settings), settings)
    assert not has_price(chat_model("m", HERE), HERE)


@pytest.mark.parametrize(
    ("model", "provider", "priced"),
    [("gpt-4o", "openai", True), ("gemini-2.5-pro", "google_genai", True), ("gpt-4o", "ollama", False)],
)
def test_a_model_object_of_another_package_has_the_price_of_its_provider(
    model: str, provider: str, priced: bool
) -> None:
    assert has_price(OfAnotherPackage(["x"], model=model, provider=provider)) is priced


async def test_its_replies_cost_what_the_list_says() -> None:
    usage_metadata = {
        "input_tokens": 1000,
        "output_tokens": 100,
        "total_tokens": 1100,
        "input_token_details": {"cache_read": 600},
    }
    model = OfAnotherPackage([AIMessage("x", usage_metadata=usage_metadata)], model="gpt-4o")

    usage = (await ask(model, [HumanMessage("x")])).usage

    listed = facts("gpt-4o")
    assert listed is not None
    assert usage.unpriced_calls == 0
    assert usage.cost_usd == pytest.approx(
        400 * listed["input_cost_per_token"]
        + 600 * listed["cache_read_input_token_cost"]
        + 100 * listed["output_cost_per_token"]
    )


def test_the_window_is_the_models_own_or_that_of_the_settings() -> None:
    settings = ModelSettings(base_url=HERE.base_url, window_tokens=5_000)

    assert window("gpt-4o") == 128_000
    assert window(chat_model("anthropic/claude-sonnet-4-5")) == 200_000
    assert window(chat_model("qwen3:8b", settings), settings) == 5_000
    assert window(ScriptedModel(["x"], profile={"max_input_tokens": 7_000}), settings) == 7_000


def test_what_a_model_reads_is_known_for_some() -> None:
    assert reads("gpt-4o", "image") is True
    assert reads("gpt-4o", "audio") is False
    assert reads("gpt-audio", "audio") is True
    assert reads(ScriptedModel(["x"], profile={"image_inputs": True}), "image") is True
    assert reads(ScriptedModel(["x"], profile={"audio_inputs": False}), "audio") is False
    assert reads(ScriptedModel(["x"]), "image") is None


def test_a_price_is_looked_up_without_litellm() -> None:
    code = """
import sys
from rlm_graph.models import has_price, window
from rlm_graph.testing import ScriptedModel
print(has_price("gpt-4o"), has_price(ScriptedModel(["x"])), window("gpt-4o"), "litellm" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["True", "False", "128000", "False"]
