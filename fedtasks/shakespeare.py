"""The next character of Shakespeare, a client a speaking role; LEAF-style (Caldas et al. 2018, arXiv:1812.01097).

The data is a file ``roles.json.gz``: an object of all that a role says, by "play/ROLE". LEAF's own edition of the texts
differs, so results compare with its own in kind only.
"""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from hansa.fedtasks.errors import DataError, OptionError
from hansa.fedtasks.folder import data_folder
from hansa.fedtasks.partition import position
from hansa.fedtasks.task import Data, Task
from hansa.strategies.types import Array

FILE = "roles.json.gz"
REMEDY = f"put {FILE} there, and name the folder by task.data_dir, or the one above it by HANSA_DATA."
AGAIN = "fetch the file again."
SYMBOLS = "\n !\"&'(),-./0123456789:;?@ABCDEFGHIJKLMNOPQRSTUVWXYZ]_abcdefghijklmnopqrstuvwxyz{"
"""The 81 symbols of the texts; any other is read as one more."""
OTHER = len(SYMBOLS)
SEEN, EMBEDDING = 80, 8
"""Characters before the one to guess, and the numbers that stand for each of them."""
_PLACES = np.full(128, OTHER, np.uint8)
_PLACES[[ord(symbol) for symbol in SYMBOLS]] = np.arange(OTHER)


@dataclass(frozen=True, kw_only=True)
class Shakespeare(Task):
    """Which character follows the 80 before it? An embedding of 8, and ``layers`` LSTM layers of ``hidden`` units.

    A client is a role that says at least ``least`` characters. The first part of what it says is for training, the last
    share ``test`` for testing, and no window of 81 characters reaches into both; a role whose last share is shorter
    than a window tests nothing. A window begins every ``stride`` characters.
    """

    hidden: int = 256
    layers: int = 2
    least: int = 160
    stride: int = 1
    test: float = 0.2
    data_dir: str | None = None

    def __post_init__(self) -> None:
        for name in ("hidden", "layers", "stride"):
            if getattr(self, name) < 1:
                raise OptionError(f"task.{name}={getattr(self, name)}: it must be at least 1.")
        if not 0 <= self.test < 1:
            raise OptionError(f"task.test={self.test}: the share that is kept for testing is at least 0 and below 1.")
        if self._cut(self.least) <= SEEN:
            raise OptionError(
                f"task.least={self.least}: what remains of a role for training must have {SEEN + 1} characters: "
                "raise it, or lower task.test."
            )

    def clients(self) -> tuple[str, ...]:
        return tuple(sorted(self._roles))

    def model(self) -> nn.Module:
        return NextCharacter(self.hidden, self.layers)

    def data(self, client: str) -> Data:
        position(client, self.clients())
        symbols_T = encode(self._roles[client])
        cut = self._cut(len(symbols_T))
        train, test = Windows(symbols_T[:cut], self.stride), Windows(symbols_T[cut:], self.stride)
        return Data(train, test if len(test) else None)

    def _cut(self, length: int) -> int:
        """Return where the test part of a text begins."""
        return length - round(self.test * length)

    @cached_property
    def _roles(self) -> dict[str, str]:
        """Read the texts of all roles that are long enough; raises DataError."""
        path = data_folder(self.data_dir, "shakespeare", REMEDY) / FILE
        try:
            found = json.loads(gzip.decompress(path.read_bytes()))
        except (gzip.BadGzipFile, EOFError, zlib.error, ValueError) as error:
            raise DataError(path, f"is no JSON in gzip ({error}): {AGAIN}") from error
        except OSError as error:
            raise DataError(path, f"cannot be read ({error.strerror}): {REMEDY}") from error
        if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
            raise DataError(path, f"is not an object of texts by role: {AGAIN}")
        roles = {role: text for role, text in found.items() if len(text) >= self.least}
        if not roles:
            raise DataError(path, f"has no role of {self.least} characters or more: lower task.least.")
        return roles


@dataclass(frozen=True, eq=False)
class Windows:
    """All windows of 81 symbols (80 seen, the next is the target), cut from the text when they are asked for.

    >>> len(Windows(np.zeros(85, np.uint8), 2)), Windows(np.arange(85, dtype=np.uint8), 2)[1][1].item()
    (3, 82)
    """

    symbols_T: Array
    stride: int

    def __len__(self) -> int:
        return max(0, (len(self.symbols_T) - SEEN - 1) // self.stride + 1)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        start = range(len(self))[index] * self.stride
        window = torch.from_numpy(self.symbols_T[start : start + SEEN + 1].astype(np.int64))
        return window[:SEEN], window[SEEN]

    @property
    def targets(self) -> Array:
        """The targets (N,) of all windows."""
        return self.symbols_T[SEEN :: self.stride]


class NextCharacter(nn.Module):
    """Symbols (N, 80) of int64 in, logits (N, 82) of the one that follows out."""

    def __init__(self, hidden: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(OTHER + 1, EMBEDDING)
        self.lstm = nn.LSTM(EMBEDDING, hidden, layers, batch_first=True)
        self.out = nn.Linear(hidden, OTHER + 1)

    def forward(self, symbols: Tensor) -> Tensor:
        states, _ = self.lstm(self.embedding(symbols))
        logits: Tensor = self.out(states[:, -1])
        return logits


def encode(text: str) -> Array:
    """Return the places (T,) of a text's symbols in `SYMBOLS`, uint8.

    >>> encode("\\nA€").tolist()
    [0, 26, 81]
    """
    code_T = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    return _PLACES[np.minimum(code_T, 127)]
