"""How Alembic comes to the database: by the connection that `upgrade` has opened, in its transaction."""

from alembic import context

from tickerd.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
