-- Sessions that a client has for a person, the codes that open them, and what people have consented to.

CREATE TABLE sessions_with_delegated (
    id               BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    kind             TEXT    NOT NULL CHECK (kind IN ('tokens', 'browser', 'machine', 'delegated')),
    user_id          BLOB    REFERENCES users (id),
    client           TEXT    NOT NULL,
    scopes           TEXT    NOT NULL,
    amr              TEXT    NOT NULL, -- separated by blanks; empty for a machine
    parent           BLOB    CHECK (length(parent) = 16), -- the browser's session that it ends with
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
    CHECK (kind <> 'tokens' OR refresh_current IS NOT NULL),
    CHECK (kind IN ('tokens', 'delegated') OR refresh_current IS NULL),
    CHECK (kind = 'delegated' OR parent IS NULL)
) STRICT;

INSERT INTO sessions_with_delegated
SELECT id, kind, user_id, client, scopes, CASE kind WHEN 'machine' THEN '' ELSE 'pwd' END, NULL,
       authenticated_at, expires_at, address, user_agent, refresh_current, refresh_previous, rotated_at,
       last_seen_at, ended_at
FROM sessions;

DROP TABLE sessions;
ALTER TABLE sessions_with_delegated RENAME TO sessions;

CREATE INDEX sessions_of_user ON sessions (user_id);
CREATE INDEX sessions_of_parent ON sessions (parent) WHERE parent IS NOT NULL;
-- What a command ends when it disables or deletes a client.
CREATE INDEX sessions_of_client ON sessions (client) WHERE kind IN ('machine', 'delegated');
-- What is pruned is found by these two.
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE INDEX sessions_by_end ON sessions (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE clients_of_all (
    id                        TEXT    NOT NULL PRIMARY KEY,
    name                      TEXT,
    secret                    BLOB    CHECK (length(secret) = 32), -- SHA-256; none of a public client
    redirect_uris             TEXT    NOT NULL, -- separated by blanks, as all lists but the roles
    post_logout_redirect_uris TEXT    NOT NULL,
    scopes                    TEXT    NOT NULL,
    grants                    TEXT    NOT NULL,
    consent                   TEXT    NOT NULL CHECK (consent IN ('ask', 'skip')),
    roles                     TEXT    NOT NULL, -- separated by commas
    disabled                  INTEGER NOT NULL,
    created_at                INTEGER NOT NULL
) STRICT;

INSERT INTO clients_of_all
SELECT id, NULL, secret, '', '', scopes, 'client_credentials', 'ask', '', disabled, created_at FROM clients;

DROP TABLE clients;
ALTER TABLE clients_of_all RENAME TO clients;

-- Rows stay for a while when they are spent: one that comes back ends the session that it opened.
CREATE TABLE codes (
    hash              BLOB    NOT NULL PRIMARY KEY CHECK (length(hash) = 32), -- SHA-256
    client            TEXT    NOT NULL,
    user_id           BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    parent            BLOB    NOT NULL CHECK (length(parent) = 16), -- the browser's session
    scopes            TEXT    NOT NULL,
    redirect_uri      TEXT    NOT NULL,
    redirect_uri_sent INTEGER NOT NULL, -- whether the client named it
    challenge         BLOB    NOT NULL CHECK (length(challenge) = 32), -- SHA-256 of its verifier
    nonce             TEXT,
    audience          TEXT, -- the resource that was asked for (RFC 8707); NULL is the gateway
    expires_at        INTEGER NOT NULL,
    spent_at          INTEGER,
    session           BLOB    CHECK (length(session) = 16) -- what it opened
) STRICT;

CREATE INDEX codes_by_expiry ON codes (expires_at);
CREATE INDEX codes_of_user ON codes (user_id);

CREATE TABLE consents (
    user_id    BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client     TEXT    NOT NULL,
    scopes     TEXT    NOT NULL,
    granted_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, client)
) STRICT, WITHOUT ROWID;

CREATE INDEX consents_to_client ON consents (client);
