-- OAuth clients that were made by a command; those of the file are not here.

CREATE TABLE clients (
    id         TEXT    NOT NULL PRIMARY KEY,
    secret     BLOB    NOT NULL CHECK (length(secret) = 32), -- SHA-256
    scopes     TEXT    NOT NULL,
    disabled   INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- What a command ends when it disables or deletes one.
CREATE INDEX sessions_of_client ON sessions (client) WHERE kind = 'machine';
