-- Sessions of browsers have no refresh token, and those of machines no user either.

CREATE TABLE sessions_of_all (
    id               BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    kind             TEXT    NOT NULL CHECK (kind IN ('tokens', 'browser', 'machine')),
    user_id          BLOB    REFERENCES users (id),
    client           TEXT    NOT NULL,
    scopes           TEXT    NOT NULL,
    authenticated_at INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL,
    address          TEXT    NOT NULL,
    user_agent       TEXT,
    refresh_current  BLOB    CHECK (length(refresh_current) = 32), -- SHA-256
    refresh_previous BLOB    CHECK (length(refresh_previous) = 32),
    rotated_at       INTEGER,
    last_seen_at     INTEGER NOT NULL,
    ended_at         INTEGER,
    CHECK ((kind = 'machine') = (user_id IS NULL)),
    CHECK ((kind = 'tokens') = (refresh_current IS NOT NULL))
) STRICT;

INSERT INTO sessions_of_all
SELECT id, 'tokens', user_id, client, scopes, authenticated_at, expires_at, address, user_agent,
       refresh_current, refresh_previous, rotated_at, last_seen_at, ended_at
FROM sessions;

DROP TABLE sessions;
ALTER TABLE sessions_of_all RENAME TO sessions;

CREATE INDEX sessions_of_user ON sessions (user_id);
-- What is pruned is found by these two.
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE INDEX sessions_by_end ON sessions (ended_at) WHERE ended_at IS NOT NULL;
