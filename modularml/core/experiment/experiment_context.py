"""The public address of `ExperimentContext`.

It knows nothing: the class lives in `modularml.core.context`, below all that registers with it.
"""

from modularml.base.registration import RegistrationPolicy as RegistrationPolicy
from modularml.core.context import ExperimentContext as ExperimentContext
