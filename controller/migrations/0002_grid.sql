-- Grids by digest: each clearing names the one that it was found on. `form` is the text whose
-- Keccak-256 the digest is.
CREATE TABLE grid (
    digest BLOB PRIMARY KEY,
    form TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The digest of the clearing's grid; zero on a plate.
ALTER TABLE clearing ADD COLUMN grid BLOB NOT NULL DEFAULT x'';
UPDATE clearing SET grid = unhex(substr(message ->> '$.body.grid', 3));

-- The rung of the ladder that answered: lp, exact, envelopes or shared.
ALTER TABLE clearing ADD COLUMN rung TEXT NOT NULL DEFAULT 'exact';
UPDATE clearing SET rung = CASE
    WHEN method = 'lp' THEN 'lp'
    WHEN method LIKE 'no market:%' THEN 'shared'
    WHEN method LIKE 'limits of each connection:%' THEN 'envelopes'
    ELSE 'exact' END;
CREATE INDEX clearing_by_rung ON clearing (rung);
