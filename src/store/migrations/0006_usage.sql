-- What a run's prompts took, those of samples that came to nothing too. The samples of one request share its prompt.
ALTER TABLE runs ADD COLUMN prompt_tokens BIGINT NOT NULL DEFAULT 0;
