-- Devices that ask for somebody's consent, who gives it on another one (RFC 8628).

CREATE TABLE device_codes (
    hash             BLOB    NOT NULL PRIMARY KEY CHECK (length(hash) = 32), -- SHA-256
    user_code        BLOB    NOT NULL UNIQUE CHECK (length(user_code) = 32), -- MAC: too short for a plain hash
    client           TEXT    NOT NULL,
    scopes           TEXT    NOT NULL,
    audience         TEXT, -- the resource that was asked for (RFC 8707); NULL is the gateway
    state            TEXT    NOT NULL CHECK (state IN ('pending', 'allowed', 'denied', 'spent')),
    poll_interval    INTEGER NOT NULL, -- how long the device waits before it asks again
    polled_at        INTEGER,
    expires_at       INTEGER NOT NULL,
    user_id          BLOB    REFERENCES users (id) ON DELETE CASCADE, -- who has decided
    authenticated_at INTEGER, -- when they had signed in
    amr              TEXT, -- how they had
    session          BLOB    CHECK (length(session) = 16), -- what it opened
    CHECK ((state = 'pending') = (user_id IS NULL)),
    CHECK ((state = 'spent') = (session IS NOT NULL))
) STRICT;

-- Rows stay for a while when they are spent: one that comes back ends the session that it opened.
CREATE INDEX device_codes_by_expiry ON device_codes (expires_at);
CREATE INDEX device_codes_of_user ON device_codes (user_id) WHERE user_id IS NOT NULL;
