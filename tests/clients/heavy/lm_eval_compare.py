"""Log-likelihoods of two lm-eval runs of one task must be within 1e-3. Usage: lm_eval_compare.py OURS THEIRS (output folders)"""

import json
import pathlib
import sys

TOLERANCE = 1e-3


def likelihoods(folder):
    [samples] = pathlib.Path(folder).rglob("samples_xeno_words_*.jsonl")
    lines = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    return {line["doc_id"]: [(float(r[0][0]), str(r[0][1])) for r in line["resps"]] for line in lines}


ours, theirs = map(likelihoods, sys.argv[1:])
assert ours.keys() == theirs.keys() and len(ours) > 0
pairs = [(one, other) for doc in ours for one, other in zip(ours[doc], theirs[doc], strict=True)]
worst = max(abs(one[0] - other[0]) for one, other in pairs)
assert worst <= TOLERANCE, f"the farthest are {worst} apart"
assert all(one[1] == other[1] for one, other in pairs), "is_greedy differs"
print(f"{len(pairs)} log-likelihoods, the farthest {worst:.1e} from transformers'; is_greedy agrees in all")
