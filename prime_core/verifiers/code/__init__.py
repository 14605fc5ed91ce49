"""Programs judged by their tests, in a sandbox."""

from .credit import Credit
from .judging import CodeJudge, choose_sandbox, judge
from .limits import Limits
from .sandbox import SandboxUnavailable

__all__ = ["CodeJudge", "Credit", "Limits", "SandboxUnavailable", "choose_sandbox", "judge"]
