// Answers that openapi/openapi.json does not describe yet.

/** Of `GET /v1/fine_tuning/jobs/{id}/metrics`. */
export interface MetricColumns {
  step: number[];
  series: Record<string, (number | null)[]>;
}
export interface JobMetrics {
  updates: MetricColumns;
  evaluations: MetricColumns;
}

/** `GET /v1/fine_tuning/jobs/{id}/completions`: those of one update. */
export interface Rollouts {
  step: number | null;
  previous_step: number | null;
  next_step: number | null;
  data: Rollout[];
  last_id: string | null;
  has_more: boolean;
}
export interface Rollout {
  id: string;
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

/** `POST /v1/merges/plan`. */
export interface MergePlan {
  output: string | null;
  method: string;
  models: string[];
  base_model: number | null;
  donor: number;
  vocabulary_size: number | null;
  dtypes: Record<string, number>;
  tensors: number;
  parameters: number;
  bytes: number;
  files: { name: string; tensors: number; bytes: number }[];
  layers: MergePlanLayer[];
  warnings: string[];
}
export interface MergePlanLayer {
  place: 'embeddings' | 'layer' | 'head';
  stack: string | null;
  layer: number | null;
  parameters: number;
  bytes: number;
  parts: MergePlanPart[];
}
export interface MergePlanPart {
  tensors: string[];
  tensor_count: number;
  parameters: number;
  operation: string;
  of_differences: boolean;
  numbers: Record<string, unknown>;
  rescale: string | null;
  sources: MergePlanSource[];
  base: MergePlanSource | null;
}
export interface MergePlanSource {
  model: number;
  layer: number | null;
  weight: number | null;
  keep: { kind: string; density: number; gamma: number | null; epsilon: number | null } | null;
}
