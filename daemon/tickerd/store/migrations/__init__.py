"""What made the tables what they are, step by step: `upgrade` leads a database to `tables.SCHEMA`."""

from pathlib import Path

from sqlalchemy import Connection, text

UPGRADE_LOCK = 7_310_001  # one of PostgreSQL's advisory locks: two upgrades at once take turns


def upgrade(connection: Connection) -> None:
    """Lead a database to the newest version, in the transaction that the caller ends."""
    from alembic import command  # noqa: PLC0415 - takes a while to import, and is seldom needed
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # the driver begins none for CREATE TABLE by itself
    command.upgrade(config, "head")
