from tests.core.storage.backends import (  # noqa: F401 - fixtures
    any_database,
    any_url,
    file_database,
    postgresql_server,
    postgresql_url,
)
