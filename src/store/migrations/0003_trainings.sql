-- Uploaded files, whose bytes lie in a folder, and what jobs tell of themselves, numbered from 1 for each job.
CREATE TABLE files (
    id TEXT PRIMARY KEY,
    created_ms BIGINT NOT NULL,
    name TEXT NOT NULL,
    purpose TEXT NOT NULL,
    bytes BIGINT NOT NULL
);

CREATE INDEX files_by_age ON files (created_ms, id);

CREATE TABLE job_events (
    job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    sequence BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    is_checkpoint BIGINT NOT NULL,
    kind TEXT NOT NULL,
    level TEXT NOT NULL,
    message TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (job, sequence)
);
