-- What the tokens of a session are for (RFC 8707); NULL is the gateway, and so whatever is behind it.

ALTER TABLE sessions ADD COLUMN audience TEXT;
