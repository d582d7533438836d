-- How fine a meter is, and what happened to its registers: rollovers, resets, exchanges, gaps. Each
-- row is of a signed reading; `before` and `after` are what its kind says they are.
ALTER TABLE reading ADD COLUMN resolution_mwh INTEGER;

CREATE TABLE reading_event (
    point TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    place INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    register TEXT NOT NULL,
    kind TEXT NOT NULL,
    before INTEGER NOT NULL,
    after INTEGER NOT NULL,
    times INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    PRIMARY KEY (point, epoch, seq, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX reading_event_by_slot ON reading_event (point, slot);
