-- What carries a session from one host to another: one row for one use, which deletes it.

CREATE TABLE tickets (
    hash       BLOB    NOT NULL PRIMARY KEY CHECK (length(hash) = 32), -- SHA-256
    session_id BLOB    NOT NULL CHECK (length(session_id) = 16),
    host       TEXT    NOT NULL,
    binding    BLOB    NOT NULL CHECK (length(binding) = 32), -- SHA-256 of the browser's cookie there
    return_to  TEXT    NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE INDEX tickets_by_expiry ON tickets (expires_at);
