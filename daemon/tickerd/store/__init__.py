"""The database: the market at whole `snapshot_every_s`, each story once, and the catalogue of instruments.

SQLite in the state directory, or PostgreSQL. It belongs to the supervisor; workers never touch it, and
nothing that they do waits for it. SQLAlchemy is imported when the daemon already runs.
"""
