-- For which resources a client may ask beside those of the gateway's routes (RFC 8707). Before, none could be said.

ALTER TABLE clients ADD COLUMN resources TEXT NOT NULL DEFAULT ''; -- separated by blanks
