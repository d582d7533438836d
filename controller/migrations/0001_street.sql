-- The street's record. Everything signed is kept as it was received; nothing is ever changed except
-- the rows of `household` (watermarks), `anchor` (its way to the chain) and the counters.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- Watermarks of a metering point: what has been accepted and what has been settled.
CREATE TABLE household (
    point TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL,
    reading_seq INTEGER NOT NULL,
    reading_head BLOB NOT NULL,
    order_seq INTEGER NOT NULL,
    -- Registers up to which energy is settled; NULL until the first reading.
    settled_slot INTEGER,
    settled_import_wh INTEGER,
    settled_export_wh INTEGER,
    settled_produced_wh INTEGER,
    -- The newest reading that is settled; 0 = none.
    settled_seq INTEGER NOT NULL,
    -- 10^-18 tokens as a decimal text (beyond 64 bits).
    reward_total TEXT NOT NULL
) STRICT;

CREATE TABLE reading (
    point TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    import_wh INTEGER NOT NULL,
    export_wh INTEGER NOT NULL,
    produced_wh INTEGER,
    power_w INTEGER,
    quality TEXT NOT NULL,
    -- NULL when its registers count; otherwise why they do not.
    quarantine TEXT,
    digest BLOB NOT NULL UNIQUE,
    message TEXT NOT NULL,
    PRIMARY KEY (point, epoch, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX reading_by_slot ON reading (slot, point);

CREATE TABLE book_order (
    point TEXT NOT NULL,
    seq INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    digest BLOB NOT NULL UNIQUE,
    message TEXT NOT NULL,
    PRIMARY KEY (point, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX book_order_by_slot ON book_order (slot, point, seq);

CREATE TABLE clearing (
    slot INTEGER PRIMARY KEY,
    cleared_wh INTEGER NOT NULL,
    price INTEGER,
    price_low INTEGER,
    price_high INTEGER,
    retail INTEGER NOT NULL,
    feed_in INTEGER NOT NULL,
    orders INTEGER NOT NULL,
    method TEXT NOT NULL,
    solve_us INTEGER,
    time_ms INTEGER NOT NULL,
    -- market::Nodal of a street on a grid, JSON.
    nodal TEXT,
    -- Signed protocol::Clearing.
    message TEXT NOT NULL
) STRICT;

-- The book that was cleared, by price: what may be known of it without telling whose order is whose.
CREATE TABLE level (
    slot INTEGER NOT NULL,
    side TEXT NOT NULL,
    limit_nano INTEGER NOT NULL,
    quantity_wh INTEGER NOT NULL CHECK (quantity_wh > 0),
    PRIMARY KEY (slot, side, limit_nano)
) STRICT, WITHOUT ROWID;

CREATE TABLE fill (
    slot INTEGER NOT NULL,
    point TEXT NOT NULL,
    side TEXT NOT NULL,
    quantity_wh INTEGER NOT NULL CHECK (quantity_wh > 0),
    price INTEGER NOT NULL,
    order_digest BLOB NOT NULL,
    PRIMARY KEY (slot, point)
) STRICT, WITHOUT ROWID;

-- One row per entry of the log: a slot that was settled (version 1), or settled again because a meter
-- came late.
CREATE TABLE header (
    slot INTEGER NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    log_index INTEGER NOT NULL UNIQUE,
    leaf BLOB NOT NULL,
    -- Root of the log that ends with this header.
    root BLOB NOT NULL,
    header TEXT NOT NULL,
    -- Signed protocol::Checkpoint.
    checkpoint TEXT NOT NULL,
    -- protocol::merkle::Frontier after this header.
    frontier TEXT NOT NULL,
    -- What the entry adds to the sums of its epoch: protocol::Totals, JSON.
    moved TEXT NOT NULL,
    -- Who was billed with which meters, JSON; NULL when no meter is missing that may still come.
    members TEXT,
    time_ms INTEGER NOT NULL,
    PRIMARY KEY (slot, version)
) STRICT;

CREATE VIEW newest_header AS SELECT * FROM header h
WHERE version = (SELECT MAX(version) FROM header n WHERE n.slot = h.slot);

CREATE TABLE statement (
    slot INTEGER NOT NULL,
    point TEXT NOT NULL,
    version INTEGER NOT NULL,
    log_index INTEGER NOT NULL,
    position INTEGER NOT NULL,
    measured INTEGER NOT NULL,
    import_wh INTEGER NOT NULL,
    export_wh INTEGER NOT NULL,
    bought_wh INTEGER NOT NULL,
    sold_wh INTEGER NOT NULL,
    amount INTEGER NOT NULL,
    -- What the same energy costs with the supplier alone.
    alone INTEGER NOT NULL,
    reward_wh INTEGER NOT NULL,
    -- The household's newest reading that is settled after this entry; 0 = none.
    reading_seq INTEGER NOT NULL,
    leaf BLOB NOT NULL,
    -- protocol::Delivery as it was sent.
    delivery TEXT NOT NULL,
    PRIMARY KEY (slot, point, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX statement_by_point ON statement (point, slot);
CREATE INDEX statement_by_entry ON statement (log_index, point);
CREATE INDEX statement_by_point_and_entry ON statement (point, log_index);

-- What each household owes for each slot: the newest version.
CREATE VIEW bill AS SELECT * FROM statement s
WHERE version = (SELECT MAX(version) FROM statement n WHERE n.slot = s.slot AND n.point = s.point);

-- The double-entry ledger: a row is a transfer, so an unbalanced entry cannot be written. Those of a
-- later version are the differences to the one before.
CREATE TABLE transfer (
    slot INTEGER NOT NULL,
    version INTEGER NOT NULL,
    number INTEGER NOT NULL,
    debit TEXT NOT NULL,
    credit TEXT NOT NULL CHECK (credit <> debit),
    amount INTEGER NOT NULL CHECK (amount > 0),
    reason TEXT NOT NULL,
    PRIMARY KEY (slot, version, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX transfer_by_debit ON transfer (debit, slot);
CREATE INDEX transfer_by_credit ON transfer (credit, slot);
CREATE TRIGGER transfer_is_final_update BEFORE UPDATE ON transfer
BEGIN SELECT RAISE(ABORT, 'transfers are final; post a correcting transfer'); END;
CREATE TRIGGER transfer_is_final_delete BEFORE DELETE ON transfer
BEGIN SELECT RAISE(ABORT, 'transfers are final; post a correcting transfer'); END;

-- What households' own agents found when they checked their statements.
CREATE TABLE audit (
    point TEXT NOT NULL,
    slot INTEGER NOT NULL,
    version INTEGER NOT NULL,
    verified INTEGER NOT NULL,
    reason TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (slot, point, version)
) STRICT, WITHOUT ROWID;

-- Messages that were not accepted: all are counted, the newest are kept.
CREATE TABLE refusal (
    id INTEGER PRIMARY KEY,
    point TEXT,
    kind TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    message_hash BLOB NOT NULL,
    message BLOB NOT NULL,
    time_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE refusal_count (
    reason TEXT PRIMARY KEY,
    count INTEGER NOT NULL
) STRICT;

-- The durable way to the chain: `queued` → `prepared` (signed, nonce taken) → `sent` → `included` →
-- `final`, or `failed` and then queued again. The signed bytes are written before they are sent.
CREATE TABLE anchor (
    seq INTEGER PRIMARY KEY,
    from_slot INTEGER NOT NULL,
    to_slot INTEGER NOT NULL,
    log_size INTEGER NOT NULL,
    log_root BLOB NOT NULL,
    rewards_root BLOB NOT NULL,
    -- The epoch as the desk closed it, JSON.
    header TEXT NOT NULL,
    -- {account: cumulative} of the rewards tree as JSON.
    rewards TEXT NOT NULL,
    -- The header as it is submitted, JSON, and its hash on the chain.
    epoch_header TEXT,
    header_hash BLOB,
    state TEXT NOT NULL,
    nonce INTEGER,
    raw BLOB,
    tx_hash BLOB,
    -- Where the outbox's rules stand, JSON.
    progress TEXT,
    block INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    queued_ms INTEGER NOT NULL,
    final_ms INTEGER
) STRICT;

-- Reward claims that the operator sends on behalf of a producer; they always pay the account.
CREATE TABLE claim (
    seq INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    -- 10^-18 tokens since the beginning, decimal.
    cumulative TEXT NOT NULL,
    anchor_seq INTEGER NOT NULL,
    state TEXT NOT NULL,
    nonce INTEGER,
    raw BLOB,
    tx_hash BLOB,
    progress TEXT,
    block INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    queued_ms INTEGER NOT NULL,
    final_ms INTEGER
) STRICT;
