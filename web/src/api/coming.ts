// Answers that openapi/openapi.json does not describe yet.

/** `GET /v1/fine_tuning/jobs/{id}/metrics`: columns by step. */
export interface JobMetrics {
  step: number[];
  series: Record<string, (number | null)[]>;
}

/** One of `GET /v1/fine_tuning/jobs/{id}/completions`. */
export interface Rollout {
  step: number;
  example: number;
  prompt: string;
  completion: string;
  tokens: number;
  truncated: boolean;
  reward: number;
  rewards: Record<string, number>;
  advantage: number;
}
