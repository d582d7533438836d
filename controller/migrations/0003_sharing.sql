-- How members share, by digest: each clearing and header names its own. `form` is the text whose
-- Keccak-256 the digest is.
CREATE TABLE sharing (
    digest BLOB PRIMARY KEY,
    form TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The legal allocation: whose energy was whose, as the grid operator counts it. A later version of a
-- slot replaces the one before as a whole; a household whose meter is missing has no row.
CREATE TABLE allocation (
    slot INTEGER NOT NULL,
    version INTEGER NOT NULL,
    point TEXT NOT NULL,
    import_wh INTEGER NOT NULL,
    export_wh INTEGER NOT NULL,
    taken_wh INTEGER NOT NULL CHECK (taken_wh BETWEEN 0 AND import_wh),
    given_wh INTEGER NOT NULL CHECK (given_wh BETWEEN 0 AND export_wh),
    PRIMARY KEY (slot, version, point)
) STRICT, WITHOUT ROWID;
