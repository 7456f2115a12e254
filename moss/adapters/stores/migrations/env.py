"""Owns how Alembic runs here: on the connection it is given, in that connection's own transaction."""

from alembic import context

from moss.adapters.stores.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
context.run_migrations()
