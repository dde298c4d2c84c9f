// Shapes of endpoints that openapi/openapi.json has not yet.

export interface EvalSuites {
  data: EvalSuite[];
  presets: EvalPreset[];
  profiles: string[];
  endpoints: string[];
}

export interface EvalSuite {
  name: string;
  version: string;
  description: string;
  licence: string;
  task: string;
  variants: string[];
  languages: { language: string; name: string; is_present: boolean; problems: number | null }[];
  /** `built_in`, `present` or `missing`. */
  data: string;
  data_message: string | null;
  sha256: string | null;
  defaults: EvalProtocol;
}

export interface EvalProtocol {
  n: number | null;
  shots: number | null;
  thinking_prefix: boolean | null;
  temperature: number | null;
  top_p: number | null;
  top_k: number | null;
  min_p: number | null;
  max_completion_tokens: number | null;
}

export interface EvalPreset {
  name: string;
  description: string;
  protocol: EvalProtocol;
}
