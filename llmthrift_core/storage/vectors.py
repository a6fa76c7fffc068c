"""pgvector's type of 16-bit floats, for SQLAlchemy and for psycopg, without pgvector's Python package.

16 bits are what the graphs in memory keep too: half the room of 32, and no measurable difference in what is found.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    Connection,
    inspect,
)
from sqlalchemy.types import UserDefinedType

TABLE_PREFIX: Final = "llmthrift_semantic_vectors_"


class HalfVector(UserDefinedType[bytes]):
    """A column of vectors.

    Args:
        dimensions: of every vector.
    """

    cache_ok = True

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions

    def get_col_spec(self, **_: Any) -> str:
        return f"halfvec({self.dimensions})"


class PackedVector(bytes):
    """A vector as pgvector's binary format has it: the number of dimensions and an unused number in 16 bits each, then the floats, all big
    endian. One of 384 dimensions is packed in 2 us, and written as a text in 350."""

    @classmethod
    def of(cls, halves: bytes) -> PackedVector:
        """A vector of big endian 16-bit floats."""
        return cls((len(halves) // 2).to_bytes(2) + b"\0\0" + halves)


def teach_psycopg() -> None:
    """Let connections that psycopg opens from now on take a `PackedVector` as a parameter."""
    import psycopg
    from psycopg.adapt import Dumper
    from psycopg.pq import Format

    class PackedVectorDumper(Dumper):
        format = Format.BINARY  # no `oid`: the server takes the type that the statement casts to

        def dump(self, obj: PackedVector) -> bytes:
            return obj

    psycopg.adapters.register_dumper(PackedVector, PackedVectorDumper)


def vector_table_names(connection: Connection) -> list[str]:
    """The names of the tables of vectors in a PostgreSQL database."""
    return [name for name in inspect(connection).get_table_names() if name.startswith(TABLE_PREFIX)]
