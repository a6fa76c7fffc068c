"""`Experiment`: which arm a user, session or request gets, the same in every process, and what came of it."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self, get_args

from sqlalchemy import bindparam, select

from llmthrift_core.attribution import attribute, current_attribution
from llmthrift_core.errors import ConfigurationError, LLMThriftError
from llmthrift_core.ledger import ids
from llmthrift_core.moments import Moment, from_us, to_us
from llmthrift_core.quality.experiment_results import ExperimentResults, compare, read_arms
from llmthrift_core.quality.sampling import position
from llmthrift_core.quality.scores import checked_confidence
from llmthrift_core.settings import is_disabled, is_observing
from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import experiments
from llmthrift_core.texts import is_storable, require_thrift

if TYPE_CHECKING:
    from llmthrift_core.host import Host
    from llmthrift_core.storage.database import Database

logger = logging.getLogger("llmthrift")
Unit = Literal["user", "session", "request", "question"]
_LONGEST_NAME: Final = 100
_LONGEST_SALT_BYTES: Final = 64
ADD_EXPERIMENT: Final = Statement(
    lambda insert: (
        insert(experiments)
        .values({name: bindparam(name) for name in ("name", "definition", "created_us")})
        .on_conflict_do_nothing(index_elements=["name"])
    )
)
GET_EXPERIMENT: Final = Statement(
    select(experiments.c.definition, experiments.c.created_us).where(experiments.c.name == bindparam("of_name"))
)
NAMES_OF_EXPERIMENTS: Final = Statement(select(experiments.c.name).order_by(experiments.c.name))


@dataclass(frozen=True)
class _Definition:
    """What decides the assignment. Two processes with different ones would give a unit two arms."""

    arms: Mapping[str, float]
    control: str
    unit: Unit
    salt: str

    def to_json(self) -> str:
        return json.dumps({"arms": [*self.arms.items()], "control": self.control, "unit": self.unit, "salt": self.salt})

    @classmethod
    def from_json(cls, text: str) -> _Definition:
        found = json.loads(text)
        return cls(dict(found["arms"]), found["control"], found["unit"], found["salt"])


class Experiment:
    """An A/B experiment on the calls of an application.

    A unit's arm follows from a keyed hash of its name: the same in every process, at any time, independent of other experiments. The
    arm is recorded as the tag "experiment:NAME" of every call made inside `assigned()`; `thrift.report(by="experiment:NAME")` groups by
    it. The definition is kept in the database: a process that comes with another one is refused, since it would move units.

    Args:
        thrift: where calls are recorded.
        name: of the experiment.
        arms: weight of each arm, in any unit; {"control": 9, "candidate": 1} gives a tenth to the candidate.
        unit: what gets an arm: "user" and "session" as in `attribute(...)`, each "request" by itself, or each "question", whoever asks it:
            then what is cached for one arm does not serve the other. The caller names the question; rows are told apart by their prompt.
        control: the arm to compare with; None is the first.
        salt: of the hash, at most 64 bytes; None is the name. Experiments of the same salt assign alike.

    Raises:
        ConfigurationError: an option that cannot be used, or another definition of this name is kept.
        StorageError: the database cannot be used.

    >>> from llmthrift_core import Thrift, attribute
    >>> from llmthrift_core.quality import Experiment
    >>> experiment = Experiment(Thrift(":memory:"), "short answers", arms={"control": 1, "candidate": 1})
    >>> with attribute(user="ada"), experiment.assigned() as arm:
    ...     arm == experiment.arm_of("ada")
    True
    """

    def __init__(
        self,
        thrift: Host,
        name: str,
        *,
        arms: Mapping[str, float],
        unit: Unit = "user",
        control: str | None = None,
        salt: str | None = None,
    ) -> None:
        require_thrift(thrift, type(self).__name__)
        if not isinstance(name, str) or not name or len(name) > _LONGEST_NAME or not is_storable(name):
            raise ConfigurationError(f"name must be a text of at most {_LONGEST_NAME} characters that a database can store, not {name!r}")
        if unit not in get_args(Unit):
            raise ConfigurationError(f'unit must be "user", "session", "request" or "question", not {unit!r}')
        arms = _checked_arms(arms)
        control = next(iter(arms)) if control is None else control
        if control not in arms:
            raise ConfigurationError(f"control must be one of the arms {', '.join(map(repr, arms))}, not {control!r}")
        salt = name if salt is None else salt
        if not isinstance(salt, str) or not salt or not is_storable(salt):
            raise ConfigurationError(f"salt must be a text, not {salt!r}")
        self.thrift = thrift
        self.name = name
        self._definition = _Definition(arms, control, unit, salt)
        self._key = salt.encode()[:_LONGEST_SALT_BYTES]
        self._said_that_units_are_missing = False
        self._created_us = self._keep()

    @classmethod
    def named(cls, thrift: Host, name: str) -> Self:
        """The experiment that is kept under a name.

        Raises:
            ConfigurationError: there is none.
            StorageError: the database cannot be read.
        """
        row = thrift.database.fetch_one(GET_EXPERIMENT, (name,))
        if row is None:
            kept = ", ".join(map(repr, names_of_experiments(thrift.database))) or "none"
            raise ConfigurationError(f"there is no experiment {name!r}; there are: {kept}")
        kept_definition = _Definition.from_json(row[0])
        return cls(
            thrift,
            name,
            arms=kept_definition.arms,
            unit=kept_definition.unit,
            control=kept_definition.control,
            salt=kept_definition.salt,
        )

    @property
    def arms(self) -> Mapping[str, float]:
        """The weight of each arm; they add up to 1."""
        total = math.fsum(self._definition.arms.values())
        return {name: weight / total for name, weight in self._definition.arms.items()}

    @property
    def control(self) -> str:
        """The arm to compare with."""
        return self._definition.control

    @property
    def unit(self) -> Unit:
        """What gets an arm."""
        return self._definition.unit

    @property
    def tag(self) -> str:
        """The tag under which the arm is recorded."""
        return f"experiment:{self.name}"

    def arm_of(self, unit: str) -> str:
        """The arm of a unit."""
        at = position(unit, key=self._key)
        above = 0.0
        for name, weight in self.arms.items():
            above += weight
            if at < above:
                return name
        return name  # the weights add up to a little less than 1

    @contextmanager
    def assigned(self, unit: str | None = None) -> Iterator[str]:
        """The arm of a unit, recorded with every call inside of the block.

        A call without a unit gets the control arm and is not part of the experiment, which is logged once. In observe mode, and where
        llmthrift is disabled, that is so for every call.

        Args:
            unit: None takes the user or session of the surrounding `attribute(...)`, or makes up a request. A question must be given.
        """
        if unit is None:
            who = current_attribution()
            unit = {"user": who.user, "session": who.session, "request": ids.new_request_id(), "question": None}[self.unit]
        if unit is None and not self._said_that_units_are_missing:
            self._said_that_units_are_missing = True
            logger.warning(
                "experiment %r: calls without a %s are not part of it; set one with attribute(%s=...)", self.name, self.unit, self.unit
            )
        if unit is None or is_observing() or is_disabled():
            yield self.control
            return
        arm = self.arm_of(unit)
        given = {self.unit: unit} if self.unit in ("user", "session") else {}  # results are by unit, so the row has to name it
        with attribute(tags={self.tag: arm}, **given):
            yield arm

    def results(
        self,
        since: Moment | None = None,
        until: Moment | None = None,
        *,
        confidence: float = 0.95,
        min_saving: float = 0.10,
        quality_margin: float = 0.02,
        source: str | None = None,
    ) -> ExperimentResults:
        """Cost and quality of each arm, and what follows from them.

        Args:
            since, until: the calls of [since, until); None is since the experiment was made, and now.
            confidence: of every interval.
            min_saving: a candidate must save more than this share of the control's cost per request.
            quality_margin: a quality that is lower by less than this counts as not lower.
            source: only judgements by sources that begin so, such as "judge:".

        Raises:
            ConfigurationError: an argument that cannot be used.
            StorageError: the database cannot be read.
        """
        checked_confidence(confidence)
        for name, value in (("min_saving", min_saving), ("quality_margin", quality_margin)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
                raise ConfigurationError(f"{name} must be a share from 0 to below 1, not {value!r}")
        if quality_margin == 0:
            raise ConfigurationError("quality_margin must be above 0: that two qualities are exactly equal cannot be shown by any data")
        since_us = self._created_us if since is None else to_us(since)
        self.thrift.flush()
        with self.thrift.database.read() as connection:
            found = read_arms(
                connection,
                tag=self.tag,
                arms=list(self.arms),
                unit=self.unit,
                since_us=since_us,
                until_us=None if until is None else to_us(until),
                source=source,
            )
        return compare(
            self.name,
            found,
            weights=self.arms,
            control=self.control,
            unit=self.unit,
            since=from_us(since_us),
            confidence=confidence,
            min_saving=min_saving,
            quality_margin=quality_margin,
        )

    def _keep(self) -> int:
        """Keep the definition, or refuse another one. Returns when it was first kept."""
        text, now_us = self._definition.to_json(), self.thrift.now_us()
        if is_disabled():
            return now_us
        row = self.thrift.database.fetch_one(GET_EXPERIMENT, (self.name,))
        if row is None:
            with self.thrift.database.transaction() as transaction:
                transaction.execute(ADD_EXPERIMENT, (self.name, text, now_us))
                row = transaction.fetch_one(GET_EXPERIMENT, (self.name,))
        if row is None:
            raise LLMThriftError(f"experiment {self.name!r} was removed while it was made")
        if row[0] != text:
            kept = _Definition.from_json(row[0])
            raise ConfigurationError(
                f"experiment {self.name!r} is kept with arms {dict(kept.arms)}, control {kept.control!r}, unit {kept.unit!r} and salt "
                f"{kept.salt!r}; to change them would give units another arm. Take another name"
            )
        return int(row[1])


def names_of_experiments(database: Database) -> list[str]:
    """Every experiment that is kept, by name. Raises StorageError."""
    return [name for (name,) in database.fetch_all(NAMES_OF_EXPERIMENTS)]


def _checked_arms(arms: Any) -> dict[str, float]:
    if not isinstance(arms, Mapping) or len(arms) < 2:
        raise ConfigurationError(
            f'arms must give a weight to each of at least two arms, such as {{"control": 1, "candidate": 1}}, not {arms!r}'
        )
    for name, weight in arms.items():
        if not isinstance(name, str) or not name or not is_storable(name):
            raise ConfigurationError(f"an arm's name must be a text, not {name!r}")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight) or weight <= 0:
            raise ConfigurationError(f"the weight of arm {name!r} must be a positive number, not {weight!r}")
    return {name: float(weight) for name, weight in arms.items()}
