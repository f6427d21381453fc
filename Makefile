# Reflex. `make help` lists what there is to do.
#
# build needs Go, make and git. generate and test also need packages of the
# system (clang, QEMU); they are installed with apt when run as root on Debian
# and named otherwise (tools/require.sh).

SHELL       := /bin/bash -o pipefail
.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

GO      ?= go
DIST    := $(CURDIR)/dist
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
TOOL    := $(GO) tool -modfile=$(CURDIR)/tools/go.mod
LINT    := $(GO) tool -modfile=$(CURDIR)/tools/lint/go.mod golangci-lint
LDFLAGS := -s -w -X main.version=$(VERSION)

# Everything we ship is static, and the same bytes wherever it is built.
export CGO_ENABLED := 0


GO_SOURCES := $(shell git ls-files -co --exclude-standard -- '*.go' '*.o' go.mod go.sum 2>/dev/null | grep -v -e '^test/' -e '^eval/' -e '^examples/')

.PHONY: outage test-backends build generate lint test test-unit test-race test-page test-simulation test-manifests test-eval test-vm crash simulated bench bench-verdict bench-arc demo containment ceiling eval bench-sensing soak-sensing record-healthy soak clean help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: $(DIST)/otelcol-reflex $(DIST)/reflexguard $(DIST)/reflexctl ## build dist/: otelcol-reflex, reflexguard, reflexctl

$(DIST)/otelcol-reflex: builder-config.yaml tools/go.mod $(GO_SOURCES)
	@mkdir -p $(DIST)
	$(TOOL) builder --config builder-config.yaml --skip-strict-versioning=false --ldflags='-s -w'
	install -m 0755 _build/otelcol-reflex $@

$(DIST)/reflexguard $(DIST)/reflexctl: $(DIST)/%: $(GO_SOURCES)
	@mkdir -p $(DIST)
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/$*

generate: ## regenerate BPF objects, component metadata and documentation
	./tools/require.sh clang-19:clang-19 llvm-strip-19:llvm-19 /usr/include/bpf/bpf_helpers.h:libbpf-dev
	$(GO) generate ./...

lint: ## run the linters over every module
	$(LINT) run ./...
	cd test && $(LINT) run --config ../.golangci.yml ./...
	cd eval && $(LINT) run --config ../.golangci.yml ./...
	cd examples/kubernetes && $(LINT) run --config ../../.golangci.yml ./...

test: test-unit test-race test-page test-simulation test-manifests test-eval test-vm ## run every test: unit, BPF on this kernel, calibration, manifests, comparison, virtual machine

# The BPF tests run on the running kernel where they can: as root, with BTF.
# Where they can they must, so that a skip is never mistaken for a pass.
# Continuous integration sets REFLEX_NO_SKIPS: a skip is an error there, unless a
# guest runs the test instead (test/skips).
UNSKIPPED := $(GO) run -C '$(CURDIR)/test' ./cmd/unskipped
CAN_BPF := $(shell [ "$$(id -u)" = 0 ] && [ -r /sys/kernel/btf/vmlinux ] && echo 1)

test-unit: ## unit tests and, as root, the BPF programs on the running kernel
	@$(if $(CAN_BPF),,echo "BPF tests are skipped: they need root and /sys/kernel/btf/vmlinux")
	REFLEX_REQUIRE_BPF=$(CAN_BPF) $(GO) test $(if $(REFLEX_NO_SKIPS),-json ./... | $(UNSKIPPED),./...)

test-race: ## the concurrent packages again under the race detector (needs a C compiler)
	@./tools/require.sh gcc:gcc
	CGO_ENABLED=1 $(GO) test -race -short -timeout 30m ./internal/... ./extension/... ./processor/... ./receiver/reflexreceiver/...

# PICTURES=docs keeps what the page looks like.
test-page: ## the status page in Debian's Chromium, driven by playwright-core (needs Node.js 18)
	@./tools/require.sh chromium:chromium node:nodejs npm:npm
	cd test/page && npm ci --no-audit --no-fund --silent
	REFLEX_PAGE_PICTURES='$(abspath $(PICTURES))' $(GO) test -count=1 -tags browser -run TestThePageInABrowser ./extension/reflexextension

test-simulation: ## the false-alarm calibration over 30 seeds (minutes)
	REFLEX_SIMULATE=1 $(GO) test -v -timeout 40m -run 'False|Leak|Beyond' ./internal/detect

test-manifests: ## the Kubernetes example against the API schema
	cd examples/kubernetes && $(GO) test $(if $(REFLEX_NO_SKIPS),-json ./... | $(UNSKIPPED),./...)

test-eval: ## the comparison of detectors: its metrics, detectors and protocol
	cd eval && $(GO) test $(if $(REFLEX_NO_SKIPS),-json ./... | $(UNSKIPPED),./...)

# Nothing is taken from the cache: it does not know what runs in the guests.
test-vm: build ## end-to-end tests in a virtual machine (software emulation, no KVM)
	./tools/require.sh qemu-system-x86_64:qemu-system-x86
	cd test && REFLEX_REQUIRE_VM=1 REFLEX_REQUIRE_BPF=$(CAN_BPF) REFLEX_DIST=$(DIST) $(GO) test -count=1 -p 1 -timeout 60m ./...

# Fewer kills, of the same cases, are in test-vm; the simulated steps are in test-unit.
KILLS ?= 200

crash: simulated ## kill guard, collector and supervisor at every step: 10,000 simulated steps, KILLS=200 in a virtual machine: dist/containment/crash.json
	$(GO) test -count=1 -tags faultpoints ./internal/faultpoint
	cd test && $(GO) run ./cmd/crash --kills $(KILLS) --simulated $(SIMULATED) --revision '$(VERSION)' --output $(DIST)/containment

SIMULATED := $(DIST)/containment/simulated.json

simulated: # the half of the crash matrix that needs no machine
	@mkdir -p $(DIST)/containment
	REFLEX_SIMULATED=$(SIMULATED) $(GO) test -count=1 -run TestTroubleAheadOfAnyCallOnTheKernel ./internal/guard

# ONLY=hangs plays the outages whose name contains it.
outage: build ## play outages of everything between an episode and its backend, at most 20 minutes: dist/outage/report.json
	./tools/require.sh qemu-system-x86_64:qemu-system-x86
	cd test && $(GO) run ./cmd/outage --dist '$(DIST)' --output '$(DIST)/outage' --revision '$(VERSION)' --only '$(ONLY)'

STORES := $(DIST)/stores

# The stores are built from their Go modules, each with the versions it was released with.
test-backends: build ## an episode in real stores (VictoriaMetrics, VictoriaLogs, Jaeger), asked by their own APIs: dist/backends
	./tools/require.sh qemu-system-x86_64:qemu-system-x86
	@mkdir -p $(STORES)
	cd tools/backends/victoria && CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o $(STORES)/ github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs
	cd tools/backends/jaeger && CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o $(STORES)/ github.com/jaegertracing/jaeger/cmd/all-in-one
	cd test && REFLEX_DIST=$(DIST) REFLEX_STORES=$(STORES) REFLEX_BACKENDS_OUT=$(DIST)/backends $(GO) test -count=1 -tags backends -timeout 20m -run TestAnEpisodeIsInEveryStore -v ./backends

bench: ## benchmarks of the hot paths
	$(GO) test -run '^$$' -bench . -benchmem ./internal/... ./bpf/... ./receiver/... ./processor/... ./extension/...

bench-verdict: ## what a packet pays for a verdict, as root, beside xdp-filter: a table of medians in dist/bench/verdict.md
	./tools/require.sh xdp-filter:xdp-tools
	@mkdir -p $(DIST)/bench
	REFLEX_XDP_FILTER=xdp-filter REFLEX_VERDICT_TABLE=$(DIST)/bench/verdict.md $(GO) test -run '^$$' -bench BenchmarkVerdict -benchtime 200x ./bpf
	@cat $(DIST)/bench/verdict.md

bench-arc: ## from the tick to the knob, natively, over plain files for cgroupfs: a table in dist/bench/arc.md (as root, four minutes)
	@mkdir -p $(DIST)/bench
	REFLEX_TICK_TO_KNOB=$(DIST)/bench/arc.md $(GO) test -count=1 -timeout 15m -run TestTickToKnob ./extension/reflexextension
	@cat $(DIST)/bench/arc.md

bench-sensing: build ## what seeing the node costs, as root: dist/bench/sensing.json and docs/benchmarks.md (BENCHFLAGS=--quick for a short look)
	cd test && $(GO) run ./cmd/benchsensing --dist '$(DIST)' --objects '$(CURDIR)/bpf' --revision '$(VERSION)' --output '$(DIST)/bench' \
		$(if $(findstring quick,$(BENCHFLAGS)),,--document '$(CURDIR)/docs/benchmarks.md') $(BENCHFLAGS)

# A tenth of the soak, and two dozen cycles, are in test-unit.
SOAK_CGROUPS ?= 20000
SOAK_SECONDS ?= 600
CYCLES       ?= 1000

soak-sensing: ## cgroups come and go while sampling, and the receiver starts and stops a thousand times: nothing may grow (as root)
	REFLEX_REQUIRE_BPF=1 REFLEX_SOAK_CGROUPS=$(SOAK_CGROUPS) REFLEX_SOAK_SECONDS=$(SOAK_SECONDS) REFLEX_CYCLES=$(CYCLES) \
		$(GO) test -count=1 -v -timeout 60m -run 'TestCgroupsComeAndGoForLong|TestStartAndShutdownLeakNothing' ./receiver/ebpfreceiver

demo: build ## the 2am scenario, without and with Reflex: dist/demo/report.html
	cd test && $(GO) run ./cmd/demo --dist $(DIST) --output $(DIST)/demo

# One run is less than twenty minutes. The crash matrix, of which `make crash` plays
# more, is sampled at the end, or taken from there. CONTAINMENTFLAGS: --only leak,jvm for some
# scenarios, --guards separate for one place of the guard, --ticks=false for no
# measurement of tick to knob.
RUNS ?= 1

containment: build simulated ## faults in virtual machines, RUNS times each: who is guilty is contained and nobody else touched: dist/containment/report.json
	cd test && $(GO) run ./cmd/containment --dist '$(DIST)' --output '$(DIST)/containment' --revision '$(VERSION)' --runs $(RUNS) --simulated $(SIMULATED) $(CONTAINMENTFLAGS)

# About eighteen minutes. CEILINGFLAGS: --only alone,2m for some arms.
ceiling: build ## the moving ceiling beside a wall and no limit, in a virtual machine: who answers, for how long: dist/ceiling/report.json
	cd test && $(GO) run ./cmd/ceiling --dist '$(DIST)' --output '$(DIST)/ceiling' --revision '$(VERSION)' $(CEILINGFLAGS)

# MACHINES × DURATION / BESIDE: three hours of them in an hour and a half. A machine
# wants most of a processor; where it gets less, ticks are missed, and soak says so.
MACHINES   ?= 6
DURATION   ?= 30m
BESIDE     ?= 2
RECORDED   ?= $(DIST)/soak/recordings
# What is soaked: the recordings of this repository, or RECORDINGS=<dir>.
RECORDINGS ?= $(CURDIR)/test/soak/recordings

record-healthy: $(DIST)/reflexctl ## record healthy busy machines, virtual ones, for soak: dist/soak/recordings
	./tools/require.sh qemu-system-x86_64:qemu-system-x86
	cd test && $(GO) run ./cmd/record-healthy --dist '$(DIST)' --output '$(RECORDED)' --machines $(MACHINES) --duration $(DURATION) --beside $(BESIDE) $(RECORDFLAGS)

soak: ## healthy machines through detection and policy, recorded and recombined, and with faults: dist/soak/report.json
	cd test && $(GO) run ./cmd/soak --recordings '$(RECORDINGS)' --output '$(DIST)/soak' $(SOAKFLAGS)

eval: ## compare detectors on labelled recordings in DATA=<dir>: dist/eval/report.json
	$(if $(DATA),,$(error DATA is not set: make eval DATA=<dir>, where <dir>/<data set>/*.csv[.gz] have a column `label`))
	cd eval && $(GO) run ./cmd/eval --data '$(abspath $(DATA))' --output '$(DIST)/eval' $(EVALFLAGS)

clean: ## remove what was built (the cache of kernels stays)
	rm -rf dist _build
