"""The Trainer of Hugging Face as a side of a race.

Its loop cannot be entered from outside, so it drives: at the end of each of its rounds the other
sides take theirs. Settings are the fastest fair ones: no logging, saving or evaluation, nothing
looked up about the loss, no clipping, whole batches that are tensors already.
"""

import tempfile
from typing import Any

import torch
from our_side import own_point
from torch import Tensor
from torch.utils.data import Dataset, SequentialSampler
from training_race import torch_adamw, torch_schedule
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from turns import Turns, clock_of, wait

from kcap_ray.config.cell import Cell


class _Windows(Dataset[dict[str, Tensor]]):
    """All windows [n_steps * B, T+1] as inputs and targets; a batch is a slice."""

    def __init__(self, batches: Tensor) -> None:
        windows = batches.flatten(0, 1)
        self.inputs, self.targets = windows[:, :-1].contiguous(), windows[:, 1:].contiguous()
        if batches.is_pinned():
            self.inputs, self.targets = self.inputs.pin_memory(), self.targets.pin_memory()

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        """What a data loader asks for a whole batch at once, in order."""
        batch = slice(indices[0], indices[-1] + 1)
        targets = self.targets[batch]
        return {"input_ids": self.inputs[batch], "labels": targets, "shift_labels": targets}


class _Recorder(Trainer):
    """Keeps the loss of every step, and takes the windows in their order."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.seen: list[Tensor] = []
        # Batches are all of one size, so the mean of a batch needs no count of its tokens.
        self.model_accepts_loss_kwargs = False
        self.remove_callback(PrinterCallback)

    def _get_train_sampler(self, *_: Any, **__: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # pyright: ignore

    def compute_loss(self, *arguments: Any, **settings: Any) -> Any:
        loss: Any = super().compute_loss(*arguments, **settings)
        self.seen.append(loss.detach())
        return loss


class _EndsOfRounds(TrainerCallback):
    def __init__(self, turns: Turns, device: torch.device) -> None:
        self.turns, self.device = turns, device
        self.trainer: _Recorder | None = None
        self.clock, self.began = clock_of(device), 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.began = self.clock()

    def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
        if state.global_step % self.turns.steps:
            return
        wait(self.device)
        seconds = self.clock() - self.began
        assert self.trainer is not None
        self.turns.add("Trainer", seconds, self.trainer.seen)
        self.trainer.seen = []
        self.turns()
        self.began = self.clock()


def run_trainer(
    model: PreTrainedModel, batches: Tensor, cell: Cell, turns: Turns, *, n_steps: int
) -> None:
    """Train `model` for `n_steps`; `turns` gets times and losses, and the others their turns."""
    with tempfile.TemporaryDirectory() as directory:
        _trainer(model, batches, cell, turns, n_steps=n_steps, directory=directory).train()


def _trainer(
    model: PreTrainedModel,
    batches: Tensor,
    cell: Cell,
    turns: Turns,
    *,
    n_steps: int,
    directory: str,
) -> Trainer:
    optimizer = torch_adamw(model, own_point(cell), cell.train)
    settings = TrainingArguments(
        output_dir=directory,
        max_steps=n_steps,
        per_device_train_batch_size=cell.train.batch_windows,
        use_cpu=model.device.type == "cpu",
        bf16=cell.train.precision == "bf16",
        max_grad_norm=0.0,
        logging_strategy="no",
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        accelerator_config={"non_blocking": model.device.type == "cuda"},
    )
    rounds = _EndsOfRounds(turns, model.device)
    rounds.trainer = _Recorder(
        model=model,
        args=settings,
        train_dataset=_Windows(batches),
        data_collator=lambda batch: batch,
        optimizers=(optimizer, torch_schedule(optimizer, n_steps, cell.train)),
        callbacks=[rounds],
    )
    return rounds.trainer
