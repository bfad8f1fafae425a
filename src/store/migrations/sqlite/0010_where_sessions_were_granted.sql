-- In which browser's session a client got what it has. That of one that outlives browsers was not known before.

ALTER TABLE sessions ADD COLUMN granted_in BLOB CHECK (length(granted_in) = 16);

UPDATE sessions SET granted_in = parent WHERE parent IS NOT NULL;

-- Whoever signs in anew takes these along.
CREATE INDEX sessions_granted_in ON sessions (granted_in) WHERE granted_in IS NOT NULL;
