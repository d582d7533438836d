-- Which keys a household has handed over, and which count no more. The key of the enrolment stands in
-- the configuration.
CREATE TABLE key_change (
    point TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    number INTEGER NOT NULL CHECK (number > 0),
    received_ms INTEGER NOT NULL,
    -- protocol::SignedKeyChange as it was sent.
    message TEXT NOT NULL,
    PRIMARY KEY (point, epoch, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE key_revocation (
    point TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    key BLOB NOT NULL,
    received_ms INTEGER NOT NULL,
    -- The household's newest reading on record by then.
    reading_seq INTEGER NOT NULL,
    -- Signed protocol::KeyRevocation, by the key itself or by the operator.
    message TEXT NOT NULL,
    PRIMARY KEY (point, epoch, key)
) STRICT, WITHOUT ROWID;
