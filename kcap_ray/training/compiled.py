"""Work that torch's compiler fails on runs as it is written: that costs speed, and not the run."""

from collections.abc import Callable
from typing import Any

import torch


def compilers_error(error: RuntimeError) -> str | None:
    """What the compiler says, in one line; None if the error is not the compiler's."""
    # Slow to import, and imported by whoever compiles.
    from torch._dynamo.exc import TorchDynamoException

    return " ".join(str(error).split())[:200] if isinstance(error, TorchDynamoException) else None


def compiled_or_written(
    work: Callable[..., Any], tell: Callable[[str], None]
) -> Callable[..., Any]:
    """`work`, compiled; from the first call on as it is written if the compiler fails, which `tell`
    is told. The compiler fails before anything has run.
    """
    chosen = torch.compile(work, dynamic=False)

    def call(*arguments: Any) -> Any:
        nonlocal chosen
        try:
            return chosen(*arguments)
        except RuntimeError as error:
            said = compilers_error(error)
            if said is None or chosen is work:
                raise
            tell(said)
        chosen = work
        return work(*arguments)

    return call
