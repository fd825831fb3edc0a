import pytest

from modularml.base.errors import InvalidValueError
from modularml.base.registration import POLICY_VARIABLE, RegistrationPolicy


@pytest.mark.parametrize("word", RegistrationPolicy.ALLOWED)
def test_each_word_means_itself_however_it_is_written(word: str) -> None:
    assert RegistrationPolicy.from_value(word) == RegistrationPolicy.from_value(word.upper()) == word


@pytest.mark.parametrize(("older", "word"), [("error", "raise"), ("overwrite_warn", "overwrite")])
def test_older_words_mean_the_same_policies(older: str, word: str) -> None:
    assert RegistrationPolicy.from_value(older) == word


def test_the_environment_may_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(POLICY_VARIABLE, raising=False)
    assert RegistrationPolicy.of_environment() is None
    monkeypatch.setenv(POLICY_VARIABLE, "Rename")
    assert RegistrationPolicy.of_environment() == "rename"
    monkeypatch.setenv(POLICY_VARIABLE, "renam")
    with pytest.raises(InvalidValueError, match="Did you mean 'rename'"):
        RegistrationPolicy.of_environment()
