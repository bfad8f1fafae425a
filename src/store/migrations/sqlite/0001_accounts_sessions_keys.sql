-- Times are milliseconds since the Unix epoch, ids the 16 bytes of a UUID.

CREATE TABLE users (
    id               BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    username         TEXT,
    username_folded  TEXT    UNIQUE,
    email            TEXT,
    email_folded     TEXT    UNIQUE,
    email_verified   INTEGER NOT NULL,
    name             TEXT,
    roles            TEXT    NOT NULL, -- separated by commas, which no role holds
    password         TEXT    NOT NULL, -- PHC string
    password_version INTEGER NOT NULL, -- grows with every new password, and with no rehash
    disabled         INTEGER NOT NULL,
    version          INTEGER NOT NULL,
    created_at       INTEGER NOT NULL,
    CHECK (username IS NOT NULL OR email IS NOT NULL)
) STRICT;

-- Every username there ever was. Nothing is deleted here, which is why there is no foreign key:
-- a name is never given to a second person.
CREATE TABLE usernames (
    folded  TEXT NOT NULL PRIMARY KEY,
    user_id BLOB NOT NULL CHECK (length(user_id) = 16)
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    id               BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    user_id          BLOB    NOT NULL REFERENCES users (id),
    client           TEXT    NOT NULL,
    scopes           TEXT    NOT NULL,
    authenticated_at INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL,
    address          TEXT    NOT NULL,
    user_agent       TEXT,
    refresh_current  BLOB    NOT NULL CHECK (length(refresh_current) = 32), -- SHA-256
    refresh_previous BLOB    CHECK (length(refresh_previous) = 32),
    rotated_at       INTEGER,
    last_seen_at     INTEGER NOT NULL,
    ended_at         INTEGER
) STRICT;

CREATE INDEX sessions_of_user ON sessions (user_id);
-- What is pruned is found by these two.
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE INDEX sessions_by_end ON sessions (ended_at) WHERE ended_at IS NOT NULL;

-- Append-only; AUTOINCREMENT, so that a position is never given to a second row even after the
-- newest one was pruned.
CREATE TABLE changes (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    kind     TEXT    NOT NULL CHECK (kind IN ('session_ended', 'user_changed', 'keys_changed')),
    subject  BLOB    CHECK (length(subject) = 16),
    version  INTEGER
) STRICT;

CREATE INDEX changes_by_time ON changes (at);

CREATE TABLE signing_keys (
    kid        TEXT    NOT NULL PRIMARY KEY,
    purpose    TEXT    NOT NULL CHECK (purpose IN ('access', 'assertion')),
    algorithm  TEXT    NOT NULL CHECK (algorithm IN ('ES256', 'EdDSA')),
    state      TEXT    NOT NULL CHECK (state IN ('next', 'current', 'retired')),
    sealed     BLOB    NOT NULL, -- PKCS #8 under the store's key
    created_at INTEGER NOT NULL,
    retired_at INTEGER
) STRICT;

-- One row: a known value under the store's key, by which a wrong key is noticed.
CREATE TABLE key_check (
    only   INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
    sealed BLOB    NOT NULL
) STRICT;
