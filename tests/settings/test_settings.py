"""What the settings promise: an order of places, one-line errors, and no secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlm_graph.errors import InputError, SetupError
from rlm_graph.settings import LocalSettings, Settings
from rlm_graph.settings.sources import SettingsWarning, user_file


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a user's folder of settings of its own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    user_file().parent.mkdir(parents=True)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


PLACES = ("flag", "variable", "rlm.toml", "pyproject.toml", "user")


@pytest.mark.parametrize("strongest", range(len(PLACES)))
def test_the_strongest_place_that_sets_a_value_wins(
    strongest: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = {}
    for place in PLACES[strongest:]:
        if place == "flag":
            flags["model"] = "flag"
        if place == "variable":
            monkeypatch.setenv("RLM_MODEL", "variable")
        if place == "rlm.toml":
            (folder / "rlm.toml").write_text('model = "rlm.toml"')
        if place == "pyproject.toml":
            (folder / "pyproject.toml").write_text('[tool.rlm-graph]\nmodel = "pyproject.toml"')
        if place == "user":
            user_file().write_text('model = "user"')

    settings = Settings.load(flags)

    assert settings.model == PLACES[strongest]
    origins = ["flag", "RLM_MODEL", str(folder / "rlm.toml"), str(folder / "pyproject.toml"), str(user_file())]
    assert settings.origin("model") == origins[strongest]


def test_places_are_merged_key_by_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "rlm.toml").write_text("[budget]\nmax_turns = 3\nmax_tokens = 100")
    monkeypatch.setenv("RLM_BUDGET__MAX_TOKENS", "200")

    settings = Settings.load({"budget": {"timeout_s": "9"}})

    budget = settings.budget
    assert (budget.max_turns, budget.max_tokens, budget.timeout_s, budget.max_cost_usd) == (3, 200, 9.0, 2.0)
    assert budget.model_fields_set == {"max_turns", "max_tokens", "timeout_s"}
    assert settings.origin("budget.max_tokens") == "RLM_BUDGET__MAX_TOKENS"
    assert settings.origin("budget.max_cost_usd") == "default"


def test_a_file_that_is_named_takes_the_place_of_rlm_toml(folder: Path) -> None:
    (folder / "rlm.toml").write_text('model = "a"\nsub_model = "b"')
    (folder / "other.toml").write_text('model = "c"')

    settings = Settings.load(config=folder / "other.toml")

    assert (settings.model, settings.sub_model) == ("c", None)


def test_a_named_file_that_is_missing_is_an_error(folder: Path) -> None:
    with pytest.raises(SetupError, match="no such settings file"):
        Settings.load(config=folder / "other.toml")


def test_an_executor_can_be_named_by_its_kind_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "rlm.toml").write_text('executor = "local"')
    monkeypatch.setenv("RLM_EXECUTOR", "local")
    monkeypatch.setenv("RLM_EXECUTOR__UNSAFE", "true")

    assert Settings.load().executor == LocalSettings(unsafe=True)
    assert Settings(executor="local").executor == LocalSettings()  # type: ignore[arg-type]  # the short form


@pytest.mark.parametrize("place", ["file", "variable", "flag"])
def test_none_is_no_ceiling_wherever_it_is_said(place: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if place == "file":
        (folder / "rlm.toml").write_text('[budget]\nmax_cost_usd = "none"')
    if place == "variable":
        monkeypatch.setenv("RLM_BUDGET__MAX_COST_USD", "None")

    settings = Settings.load({"budget": {"max_cost_usd": "none"}} if place == "flag" else {})

    assert settings.budget.max_cost_usd is None


def test_relative_paths_start_at_the_file_that_says_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user_file().write_text('data_dir = "data"')
    monkeypatch.delenv("RLM_DATA_DIR", raising=False)

    settings = Settings.load()

    assert settings.data_dir == user_file().parent / "data"
    assert settings.db == user_file().parent / "data" / "runs.sqlite"


def test_an_empty_variable_sets_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "rlm.toml").write_text('model = "a"')
    monkeypatch.setenv("RLM_MODEL", "")

    assert Settings.load().model == "a"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('modle = "x"', "unknown key modle; did you mean model?"),
        ("[budget]\nmax_turn = 3", "unknown key budget.max_turn; did you mean budget.max_turns?"),
        ("[executor]\nmemory = 3", "unknown key executor.memory; did you mean executor.memory_bytes?"),
        ("xyzzy = 1", "unknown key xyzzy; see rlm_graph.settings.Settings"),
        ("budget = 3", "budget is a table, not 3"),
        ("[budget]\nmax_turns = -1", "budget.max_turns: Input should be greater than 0 (given: -1)"),
        ('executor = "dokcer"', "executor.kind: 'dokcer' is none of 'local'"),
        ('model = "x', "cannot be read"),
    ],
)
def test_a_mistake_in_a_file_is_one_line_with_the_file_the_key_and_the_nearest_key(
    text: str, words: str, folder: Path
) -> None:
    (folder / "rlm.toml").write_text(text)

    with pytest.raises(SetupError) as caught:
        Settings.load()

    message = str(caught.value)
    assert message.startswith(f"{folder / 'rlm.toml'}: ")
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("RLM_BUDGET__MAX_COST", "did you mean RLM_BUDGET__MAX_COST_USD?"),
        ("RLM_BUDGET__MAX_TURNS", "RLM_BUDGET__MAX_TURNS: budget.max_turns: Input should be a valid integer"),
    ],
)
def test_a_mistake_in_a_variable_is_an_error(
    name: str, words: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "many")

    with pytest.raises(SetupError) as caught:
        Settings.load()

    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("RLM_MODLE", "did you mean RLM_MODEL?"),
        ("RLM_MAX_TOKENS", "did you mean RLM_BUDGET__MAX_TOKENS?"),
        ("RLM_BUGDET__MAX_TURNS", "did you mean RLM_BUDGET__MAX_TURNS?"),
        ("RLM_API_KEY", "keys are no settings"),
    ],
)
def test_a_variable_that_may_have_been_meant_for_us_is_warned_of_and_stops_nothing(
    name: str, words: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "50000")

    with pytest.warns(SettingsWarning) as caught:
        assert Settings.load() == Settings()

    [warning] = caught
    assert str(warning.message).startswith(f"{name} is no variable of rlm-graph")
    assert words in str(warning.message)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RLM_LICENSE", "5053@licences.example.org"),
        ("RLM_DEBUG", "1"),
        ("RLM_MEMORY", "8G"),
        ("RLM_MODELS", "/opt/models"),
        ("RLM_SERVER__PORT", "9"),
    ],
)
def test_the_variables_of_other_programs_are_left_alone(
    name: str, value: str, folder: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setenv(name, value)

    assert Settings.load() == Settings()
    assert not recwarn.list


def test_a_flag_that_does_not_fit_is_the_callers_mistake_and_no_fault_of_the_settings(folder: Path) -> None:
    with pytest.raises(InputError, match=r"flag: budget\.max_turns"):
        Settings.load({"budget": {"max_turns": "0"}})


@pytest.mark.parametrize("text", ['openai_api_key = "sk-1234"', '[models]\napi_key = "sk-1234"'])
def test_a_key_is_refused_as_a_setting_and_not_repeated(text: str, folder: Path) -> None:
    (folder / "rlm.toml").write_text(text)

    with pytest.raises(SetupError, match="keys are no settings") as caught:
        Settings.load()

    assert "sk-1234" not in str(caught.value)


def test_an_address_with_a_password_is_refused_and_not_repeated(folder: Path) -> None:
    (folder / "rlm.toml").write_text('[models]\nbase_url = "https://me:hunter2@example.org/v1"')

    with pytest.raises(SetupError, match=r"models\.base_url") as caught:
        Settings.load()

    assert "hunter2" not in str(caught.value)


def test_names_of_models_are_no_keys(folder: Path) -> None:
    (folder / "rlm.toml").write_text('[models.prices."openai/llama3.1"]\ninput_usd = 1\noutput_usd = 2')

    assert Settings.load().models.prices["openai/llama3.1"].output_usd == 2


def test_settings_built_by_hand_read_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "rlm.toml").write_text('model = "file"')
    monkeypatch.setenv("RLM_MODEL", "variable")

    assert Settings().model is None
