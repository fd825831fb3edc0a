"""What happens when a label is taken: the policies, by the words that choose them.

It knows no label and nothing that bears one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from modularml.base.errors import check_choice
from modularml.base.keywords import checked_keywords

POLICY_VARIABLE = "MODULARML_EXP_REGISTRATION_POLICY"


@checked_keywords
class RegistrationPolicy:
    """What happens when a label is taken: three words, and the older names for them."""

    RAISE = "raise"
    OVERWRITE = "overwrite"
    RENAME = "rename"
    ALLOWED = (RAISE, OVERWRITE, RENAME)
    _ALIASES: Mapping[str, str] = {"error": RAISE, "overwrite_warn": OVERWRITE}

    @classmethod
    def from_value(cls, value: str) -> str:
        """Return the public word for `value`.

        Raises:
            InvalidValueError: If it is no policy; the message lists them.
        """
        if isinstance(value, str):
            value = cls._ALIASES.get(value.lower(), value.lower())
        return check_choice(value, "registration policy", cls.ALLOWED)

    @classmethod
    def of_environment(cls) -> str | None:
        """Return the policy that `MODULARML_EXP_REGISTRATION_POLICY` names, or None."""
        chosen = os.environ.get(POLICY_VARIABLE)
        return cls.from_value(chosen) if chosen else None
