"""Search by a strategy of your own: change one decision of the best network so far. Half a minute on two cores."""

from collections.abc import Sequence
from random import Random

import mnas
from controllers import Decisions, StateValue


class OneChange:
    """A controller proposes an integer for each decision of the space, and is told what the network earned."""

    def __init__(self, sizes: Decisions) -> None:
        self.sizes, self.asked, self.best, self.best_reward = sizes, 0, sizes, -1.0

    def ask(self, count: int) -> list[Decisions]:
        self.asked += count
        return [self._propose(Random(number)) for number in range(self.asked - count, self.asked)]

    def _propose(self, random: Random) -> Decisions:
        new, place = tuple(map(random.randrange, self.sizes)), random.randrange(len(self.sizes))
        return new if self.best_reward < 0 else (*self.best[:place], new[place], *self.best[place + 1 :])

    def tell(self, proposals: Sequence[Decisions], rewards: Sequence[float]) -> None:
        self.best_reward, self.best = max((self.best_reward, self.best), *zip(rewards, proposals, strict=True))

    def state(self) -> dict[str, StateValue]:
        # All that later proposals depend on: a resumed search goes on exactly from here.
        return {"asked": self.asked, "best": " ".join(map(str, self.best)), "best_reward": self.best_reward}

    def restore(self, state: dict[str, StateValue]) -> None:
        self.asked, self.best_reward = int(state["asked"]), float(state["best_reward"])
        self.best = tuple(map(int, str(state["best"]).split()))


experiment = mnas.Experiment.load("quickstart").changed({"search.trials": 8})
run = experiment.run("runs/example_controller", controller=OneChange(experiment.load_space().decision_sizes))
print(*run.columns()["decisions"], sep="\n")
