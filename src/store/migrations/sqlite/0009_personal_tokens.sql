-- Personal tokens are sessions that nothing but their token opens: whatever ends sessions ends them.

CREATE TABLE sessions_with_personal (
    id               BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    kind             TEXT    NOT NULL CHECK (kind IN ('tokens', 'browser', 'machine', 'delegated', 'personal')),
    user_id          BLOB    REFERENCES users (id),
    client           TEXT    NOT NULL,
    name             TEXT,             -- what its owner calls a personal token
    scopes           TEXT    NOT NULL,
    audience         TEXT,             -- what its tokens are for (RFC 8707); NULL is the gateway
    amr              TEXT    NOT NULL, -- separated by blanks; empty for a machine and a personal token
    parent           BLOB    CHECK (length(parent) = 16), -- the browser's session that it ends with
    authenticated_at INTEGER NOT NULL, -- when a personal token was made
    expires_at       INTEGER NOT NULL,
    address          TEXT    NOT NULL,
    user_agent       TEXT,
    refresh_current  BLOB    CHECK (length(refresh_current) = 32), -- SHA-256
    refresh_previous BLOB    CHECK (length(refresh_previous) = 32),
    rotated_at       INTEGER,
    last_seen_at     INTEGER NOT NULL, -- 0: a personal token that nobody has used
    ended_at         INTEGER,
    CHECK ((kind = 'machine') = (user_id IS NULL)),
    CHECK ((kind = 'personal') = (name IS NOT NULL)),
    CHECK (kind <> 'tokens' OR refresh_current IS NOT NULL),
    CHECK (kind IN ('tokens', 'delegated') OR refresh_current IS NULL),
    CHECK (kind = 'delegated' OR parent IS NULL)
) STRICT;

INSERT INTO sessions_with_personal
SELECT id, kind, user_id, client, NULL, scopes, audience, amr, parent, authenticated_at, expires_at, address,
       user_agent, refresh_current, refresh_previous, rotated_at, last_seen_at, ended_at
FROM sessions;

DROP TABLE sessions;
ALTER TABLE sessions_with_personal RENAME TO sessions;

CREATE INDEX sessions_of_user ON sessions (user_id);
CREATE INDEX sessions_of_parent ON sessions (parent) WHERE parent IS NOT NULL;
-- What a command ends when it disables or deletes a client.
CREATE INDEX sessions_of_client ON sessions (client) WHERE kind IN ('machine', 'delegated');
-- What is pruned is found by these two.
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE INDEX sessions_by_end ON sessions (ended_at) WHERE ended_at IS NOT NULL;
