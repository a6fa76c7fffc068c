"""The statements of judgements, feedback and experiments."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, delete, func, select

from llmthrift_core.storage.statements import Statement
from llmthrift_core.storage.tables import experiments, feedback, judgements

GET_JUDGEMENT: Final = Statement(
    select(judgements.c.value).where(judgements.c.key == bindparam("of_key"), judgements.c.at_us >= bindparam("since_us"))
)
PUT_JUDGEMENT: Final = Statement(
    lambda insert: (
        insert(judgements)
        .values({name: bindparam(name) for name in ("key", "value", "at_us")})
        .on_conflict_do_update(index_elements=["key"], set_={name: insert(judgements).excluded[name] for name in ("value", "at_us")})
    )
)
FORGET_JUDGEMENTS: Final = Statement(delete(judgements).where(judgements.c.at_us < bindparam("before_us")))

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

COUNT_FEEDBACK: Final = Statement(select(func.count()).select_from(feedback).where(feedback.c.at_us > bindparam("since_us")))
