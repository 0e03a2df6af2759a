"""Counting heads in a crowd, by a density map whose sum is the count."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lossrank.errors import ConfigError, DataError
from lossrank.requirements import require_count, require_number
from lossrank.strict_json import finite
from lossrank.tasks.base import Metric, Task
from lossrank.tasks.density import counts, density_entropy, density_maps, density_mse, heads_in, local_maxima

__all__ = ["HEAD", "UNKNOWN", "Counting", "CountingError"]

HEAD, UNKNOWN = 1.0, -1.0
"""Third entries of a target's rows: a head; in the first row, that nobody has looked for heads. Otherwise 0."""
GRID = 32  # cells of the longer side of the density that a report draws
HEADS_OF_PEAK = 10  # heads for a local maximum of a map, beyond which a map says nothing of where they are
MOST_POINTS = 300  # proposed in one picture: more would be more work to correct than to place


class CountingError(Metric):
    """Mean absolute error of the count over images; the root mean squared error beside it.

    Images whose heads nobody has marked are not measured.
    """

    name: ClassVar[str] = "MAE"
    higher_is_better: ClassVar[bool] = False

    def __init__(self, task: Counting) -> None:
        self.task = task
        self.absolute = 0.0
        self.squared = 0.0
        self.seen = 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        _, present, known = self.task.read(targets)
        error = (self.task.count(outputs).double() - present.sum(1))[known]
        self.absolute += float(error.abs().sum())
        self.squared += float(error.square().sum())
        self.seen += len(error)

    def compute(self) -> float:
        return self.absolute / self.seen if self.seen else float("nan")

    def extras(self) -> dict[str, float]:
        """`RMSE`, which papers of the field call MSE."""
        return {"RMSE": math.sqrt(self.squared / self.seen) if self.seen else float("nan")}


class Counting(Task):
    """Density maps, mean squared error over pixels, error of the count, and entropy of the map.

    The C-3-Framework (Gao et al., 2019), with the density maps of Zhang et al. (2016) at a fixed gaussian.

    A target is [most, 3]: x, y in pixels of the image as the pool shows it (column and row, 0 is the first), and
    `HEAD`, for each head; rows of 0 fill it up, so that batches stack. Its map is made where the loss is computed, so
    that images may be mirrored on the way and nothing large is stored. An image without a head is a target like any
    other, a count of 0; one that nobody has marked, answer None, has `UNKNOWN` in its first row, and loss 0.

    Args:
        build: makes a model from a generator; its output is [batch, 1, height, width].
        taps: layers a loss predictor may listen to, deepest last.
        most: heads that an image can have; beyond, an answer is refused.
        stride: pixels of the input for one pixel of the map; 1 in the reference.
        kernel: side of the square that a head's gaussian fills, in pixels of the map, odd.
        sigma: of the gaussians, in pixels of the map.
        scale: factor between what the network puts out and heads per pixel (the reference's LOG_PARA).

    Raises:
        ConfigError: a value that makes no sense.
    """

    hints: ClassVar[int] = 1
    gives: ClassVar[frozenset[str]] = frozenset({"count"})

    def __init__(
        self,
        build: Callable[[torch.Generator], nn.Module],
        taps: tuple[str, ...],
        *,
        most: int = 4096,
        stride: float = 1.0,
        kernel: int = 15,
        sigma: float = 4.0,
        scale: float = 100.0,
    ) -> None:
        require_count("most", most)
        if require_count("kernel", kernel) % 2 == 0:
            raise ConfigError(f"kernel must be an odd number, got {kernel}; use {kernel + 1}")
        for name, value in (("stride", stride), ("sigma", sigma), ("scale", scale)):
            require_number(name, value, 0, above=True)
        self.taps = tuple(taps)
        self.most, self.stride, self.kernel, self.sigma, self.scale = most, stride, kernel, sigma, scale
        self._build = build

    def model(self, generator: torch.Generator) -> nn.Module:
        """A new model.

        Raises:
            ConfigError: the model has an attribute `stride` that is not the task's: heads would land elsewhere.
        """
        model = self._build(generator)
        stride = getattr(model, "stride", None)
        if isinstance(stride, int | float) and stride != self.stride:
            raise ConfigError(
                f"{type(model).__name__} puts out one pixel for {stride} of the image, the task expects {self.stride}; "
                f"set task_options: {{stride: {stride}}}"
            )
        return model

    def loss(self, outputs: Float[Tensor, "batch 1 h w"], targets: Tensor) -> Float[Tensor, " batch"]:
        """[batch] mean squared error over all pixels of each map; its mean trains. 0 where nobody marked heads.

        Args:
            outputs: maps.
            targets: [batch, most, 3].
        """
        maps = outputs.float()
        points, present, known = self.read(targets)
        truth = self.maps(points, present, (maps.shape[2], maps.shape[3]))
        return torch.where(known, density_mse(maps, truth), 0)

    def maps(self, points: Tensor, present: Tensor, size: tuple[int, int]) -> Float[Tensor, "batch 1 h w"]:
        """What the network should put out, of this height and width; arguments as of `density_maps`."""
        options: dict[str, Any] = {"stride": self.stride, "kernel": self.kernel, "sigma": self.sigma}
        return density_maps(points, present, size, **options) * self.scale

    def count(self, outputs: Float[Tensor, "batch 1 h w"]) -> Float[Tensor, " batch"]:
        """[batch] heads."""
        return counts(outputs.float(), self.scale)

    def points(self, outputs: Float[Tensor, "batch 1 h w"]) -> list[Tensor]:
        """For each map [heads, 2]: x, y in pixels of the input, of about as many heads as it counts, the surest first.

        Fewer where less of the map is above 0, and at most `MOST_POINTS`. Where the count is more than `HEADS_OF_PEAK`
        times the map's local maxima, nothing says where the heads are: taking them out one by one would lay a lattice
        over a flat map. The points are the local maxima then. A head is in the middle of what its pixel of the map
        covers of the input, `stride` pixels wide.
        """
        maps = outputs.float() / self.scale
        wanted = self.count(outputs).nan_to_num(0.0).round().clamp(0, math.prod(maps.shape[1:])).tolist()
        peaks = local_maxima(maps)
        flat = [number > HEADS_OF_PEAK * len(peak) for number, peak in zip(wanted, peaks, strict=True)]
        most = [0 if no else min(int(number), MOST_POINTS) for number, no in zip(wanted, flat, strict=True)]
        taken = heads_in(maps, most, kernel=self.kernel, sigma=self.sigma)
        found = [peak[:MOST_POINTS] if no else heads for no, peak, heads in zip(flat, peaks, taken, strict=True)]
        return [(heads + 0.5) * self.stride - 0.5 for heads in found]

    def uncertainty(self, outputs: Float[Tensor, "batch 1 h w"]) -> Float[Tensor, " batch"]:
        """[batch] entropy of the softmax over all pixels of the map as the network gives it (paper, section IV-D).

        Its largest value, the logarithm of the number of pixels, belongs to a flat map: an image in which the network
        sees nobody, or much the same everywhere. It falls as heads stand out. In the paper choosing by it is worse
        than chance.
        """
        return density_entropy(outputs.float())

    def summary(self, outputs: Float[Tensor, "batch 1 h w"]) -> Float[Tensor, "batch summary"]:
        """[batch, 7] count, peak, entropy, root of the mean square, and median, 90 % and 99 % quantile of the map.

        The count is the hint: each head is one more to miss, so the loss grows with it.
        """
        maps = outputs.detach().float()
        pixels = maps.flatten(1)
        ordered = pixels.sort(1).values
        places = [round(share * (pixels.shape[1] - 1)) for share in (1.0, 0.5, 0.9, 0.99)]
        peak, *quantiles = ordered[:, places].unbind(1)
        strength, entropy = pixels.square().mean(1).sqrt(), self.uncertainty(maps).to(maps.dtype)
        return torch.stack([self.count(maps), peak, entropy, strength, *quantiles], 1)

    def columns(self, outputs: Float[Tensor, "batch 1 h w"]) -> dict[str, Tensor]:
        """`count` [batch]: the more heads are predicted, the more are missed."""
        return {"count": self.count(outputs.detach().float())}

    def read(self, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Targets [batch, most, 3] as x, y [batch, most, 2], whether a row is a head, and [batch] whether it is known.

        Raises:
            DataError: targets of another shape.
        """
        if targets.ndim != 3 or targets.shape[2] != 3:
            raise DataError(f"targets are {list(targets.shape)}; expected [batch, heads, 3]")
        points, mark = targets[..., :2], targets[..., 2]
        return points, (mark == HEAD) & points.isfinite().all(-1), mark[:, 0] != UNKNOWN

    def target(self, answer: Any) -> Tensor:
        """[most, 3] of a labeller's answer.

        Args:
            answer: [[x, y], ...] of the heads, none for an image without any, or {"points": [...]}; None where nobody
                has looked.

        Raises:
            DataError: no such list, coordinates that are no finite numbers, or more heads than `most`.
        """
        points = answer.get("points") if isinstance(answer, Mapping) else answer
        target = torch.zeros(self.most, 3)
        if points is None:
            target[0, 2] = UNKNOWN
            return target
        if not isinstance(points, Sequence) or isinstance(points, str):
            raise DataError(f"an answer is a {type(points).__name__}; expected a list of points [x, y]")
        if len(points) > self.most:
            raise DataError(
                f"an answer must have at most {self.most} points, got {len(points)}; set task_options: "
                f"{{most: {len(points)}}} to allow them"
            )
        for row, point in enumerate(points):
            target[row] = torch.tensor([*_checked(point, row), HEAD])
        return target

    def answer(self, target: Tensor) -> Any:
        """The heads as a list of [x, y]; None where nobody has looked."""
        points, present, known = self.read(target[None])
        return points[0, present[0]].tolist() if known else None

    def unmarked(self, answer: Any) -> bool:
        """Whether nobody has looked; an image without heads is marked."""
        return (answer.get("points") if isinstance(answer, Mapping) else answer) is None

    def form(self) -> dict[str, Any]:
        return {"kind": "points"}

    def predictions(self, outputs: Tensor) -> list[Any]:
        """`count`, `points` and `density`, heads in each cell of a coarse grid over the whole picture, a list of rows.

        A sum below 0 is a count of 0. `points` are [x, y] in pixels of the input, the surest first.
        """
        maps = outputs.float() / self.scale
        height, width = maps.shape[2:]
        cell = max(1, -(-max(height, width) // GRID))
        rows, columns = -(-height // cell), -(-width // cell)
        padded = F.pad(maps, (0, columns * cell - width, 0, rows * cell - height))
        grid = F.avg_pool2d(padded, cell)[:, 0] * cell**2
        return [
            {
                "count": round(max(0.0, count), 2),
                "points": [[round(value, 1) for value in point] for point in points.tolist()],
                "density": [[round(value, 4) for value in row] for row in cells],
            }
            for count, points, cells in zip(
                self.count(outputs).tolist(), self.points(outputs), grid.tolist(), strict=True
            )
        ]

    def metric(self) -> Metric:
        return CountingError(self)


def _checked(point: Any, row: int) -> tuple[float, float]:
    if not isinstance(point, Sequence) or isinstance(point, str) or len(point) != 2:
        raise DataError(f"point {row} is {point!r}; expected [x, y]")
    x, y = finite(point[0]), finite(point[1])
    if x is None or y is None:
        raise DataError(f"point {row} is {list(point)}; expected two finite numbers")
    return x, y
