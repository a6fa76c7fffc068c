"""Sums of users, sessions and tags by thirty days, made of those by day: a report of a year reads a thirtieth of the rows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_SPAN = 2_592_000
_KEY = ("dimension", "span", "bucket", "value")


def upgrade() -> None:
    connection = op.get_bind()
    rollups = sa.Table("llmthrift_rollups", sa.MetaData(), autoload_with=connection)
    measures = [column for column in rollups.c if column.name not in _KEY]
    # The rest of a division has the sign of the bucket, which is negative before 1970.
    begin: sa.ColumnElement[int] = sa.literal_column(f"bucket - (bucket % {_SPAN} + {_SPAN}) % {_SPAN}")
    days = sa.select(rollups.c.dimension, sa.literal(_SPAN), begin, rollups.c.value, *(sa.func.sum(column) for column in measures))
    days = days.where(rollups.c.span == 86_400)
    days = days.where(sa.or_(rollups.c.dimension.in_(("user", "session")), rollups.c.dimension.like("tag:%")))
    days = days.group_by(rollups.c.dimension, begin, rollups.c.value)
    connection.execute(rollups.insert().from_select([*_KEY, *(column.name for column in measures)], days))
