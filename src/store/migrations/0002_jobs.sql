-- Work that one process does from beginning to end: merges. `token` grows with every claim, as for tasks; `sequence` with
-- every change.
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    started_ms BIGINT,
    finished_ms BIGINT,
    status TEXT NOT NULL,
    spec TEXT NOT NULL,
    progress TEXT NOT NULL,
    error TEXT,
    worker TEXT,
    token BIGINT NOT NULL DEFAULT 0,
    attempts BIGINT NOT NULL DEFAULT 0,
    lease_until_ms BIGINT NOT NULL DEFAULT 0,
    sequence BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX jobs_by_age ON jobs (kind, created_ms, id);
CREATE INDEX jobs_active ON jobs (kind, created_ms, id) WHERE status IN ('queued', 'in_progress');
