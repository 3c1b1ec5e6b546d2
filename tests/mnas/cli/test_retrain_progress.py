import io

from rich.console import Console
from rich.progress import Progress

from mnas.checkpoints.checkpoint import Position
from mnas.cli.retrain_progress import RetrainProgress, epoch_line
from mnas.retrain.logs import EpochRow
from mnas.training.phases import PhaseTime

ROW = EpochRow(
    epoch=3,
    step=30,
    learning_rate=0.0125,
    train_loss=1.5,
    top1=0.7177,
    top5=0.9,
    loss=1.25,
    images_per_s=11662.87,
    ms_per_step=175.6,
    train_s=1.0,
    validate_s=1.0,
)


def test_an_epoch_line_has_losses_accuracy_and_speed() -> None:
    assert epoch_line(ROW, 350) == (
        "epoch   3 of 350  loss 1.5000  top-1 71.77%  test loss 1.2500  lr 0.0125  11,663 img/s  176 ms/step"
    )


def test_the_start_tells_compilation_apart_and_where_a_resume_begins() -> None:
    output = io.StringIO()
    console = Console(file=output, width=200)
    with Progress(console=console, disable=True) as bar:
        observer = RetrainProgress(console, bar)
        phases = {name: PhaseTime(wall_s=seconds, cpu_s=seconds) for name, seconds in (("import", 1), ("build", 2))}
        observer.started(Position(epoch=1, step=14), 5, 10, phases | {"compile": PhaseTime(wall_s=144, cpu_s=100)})
    text = output.getvalue()
    assert "5 epochs of 10 steps" in text
    assert "compiled in 144.0 s" in text
    assert "resumed after step 14, in epoch 2" in text
