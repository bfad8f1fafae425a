-- Who people are with other providers that they sign in with.

CREATE TABLE user_identities (
    issuer    TEXT    NOT NULL,
    subject   TEXT    NOT NULL,
    user_id   BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    shown     TEXT    NOT NULL, -- what the person is called there
    roles     TEXT    NOT NULL, -- what it gave at the last sign-in, separated by commas
    linked_at INTEGER NOT NULL,
    used_at   INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject)
) STRICT, WITHOUT ROWID;

-- Nobody is two people with one provider.
CREATE UNIQUE INDEX identities_of_user ON user_identities (user_id, issuer);

-- All roles of the identities of an account: beside `roles`, which are given here and stay.
ALTER TABLE users ADD COLUMN provided_roles TEXT NOT NULL DEFAULT '';
