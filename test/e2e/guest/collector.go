// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/otelcol-reflex/reflex/internal/guard"
)

// Setup says what differs between the collectors of the scenarios.
type Setup struct {
	Binary string // default /bin/otelcol-reflex
	Mode   string // default enforce
	Guard  string // default guard.DefaultSocket
	User   User
	// Silent is the address of a backend that never answers, "" for none. With
	// Sibling it is behind a second pipeline of the same receiver, else behind
	// the one with the processor.
	Silent  string
	Sibling bool
	// TTL of a lease, default leaseTTL.
	TTL time.Duration
	// Role is what this test binary does before it becomes the collector: part of
	// roleEnv, up to the program.
	Role string
	// Traffic has the traffic of cgroups counted.
	Traffic bool
	// Cgroup is where it runs, default "/reflex/collector".
	Cgroup string
	// Metrics is a file that receives what the receiver says, as lines of OTLP;
	// "" for none.
	Metrics string
	// Configs are configuration files to use instead of ours.
	Configs []string
}

const (
	// leaseTTL is short so that scenarios which wait for a lease's end are.
	leaseTTL = 5 * time.Second

	statusURL = "http://127.0.0.1:13134"
)

// configuration is the one the distribution ships with, except for what the
// comments name.
var configuration = template.Must(template.New("collector.yaml").Parse(`
extensions:
  reflex:
    mode: {{.Mode}}
    guard: {{.Guard}}
    lease:
      ttl: {{.TTL}}
      renew: 1s
    policy:
      # The guilty service of a scenario is a few seconds old when it leaks, not
      # the two minutes for which growth counts as start-up.
      startup_grace: 5s

receivers:
  ebpf:
    interval: 100ms
    # What hangs in a pipeline hangs at every tick, and what is written is.
    emit_interval: 0s
{{- if .Traffic}}
    cgroup_network:
      enabled: true
{{- end}}
  reflex:

processors:
  mahalanobis:
    preset: node
    # Scenarios are calm for seconds: a limit for a week cannot be known by then,
    # and errs to the quiet side.
    warmup: 12s
    false_alarm_interval: 10m

exporters:
  nop:
  debug:
    verbosity: basic
{{- if .Metrics}}
  file:
    path: {{.Metrics}}
{{- end}}
{{- if .Silent}}
  # It accepts and never answers; nothing is ever dropped to make room.
  otlp_grpc:
    endpoint: {{.Silent}}
    tls:
      insecure: true
    timeout: 0s
    sending_queue:
      queue_size: 2
      num_consumers: 1
      block_on_overflow: true
{{- end}}

service:
  extensions: [reflex]
  pipelines:
    metrics/node:
      receivers: [ebpf]
      processors: [mahalanobis]
      exporters: [{{if and .Silent (not .Sibling)}}otlp_grpc{{else}}nop{{end}}]
{{- if and .Silent .Sibling}}
    metrics/sibling:
      receivers: [ebpf]
      exporters: [otlp_grpc]
{{- end}}
{{- if .Metrics}}
    metrics/file:
      receivers: [ebpf]
      exporters: [file]
{{- end}}
    metrics/reflex:
      receivers: [reflex]
      exporters: [debug]
    logs/reflex:
      receivers: [reflex]
      exporters: [debug]
    traces/reflex:
      receivers: [reflex]
      exporters: [debug]
  telemetry:
    metrics:
      level: none
`))

// Collector is a running collector.
type Collector struct {
	*Process
	setup  Setup
	cgroup Cgroup
}

// StartCollector writes the configuration, starts the collector in a cgroup of
// its own, and waits until its status page answers.
func StartCollector(t testing.TB, s Setup) *Collector {
	t.Helper()
	c := LaunchCollector(t, s)
	c.AwaitStatus(t)
	return c
}

// LaunchCollector is StartCollector without the wait.
func LaunchCollector(t testing.TB, s Setup) *Collector {
	t.Helper()
	if s.Binary == "" {
		s.Binary = "/bin/otelcol-reflex"
	}
	if s.Mode == "" {
		s.Mode = "enforce"
	}
	if s.Guard == "" {
		s.Guard = guard.DefaultSocket
	}
	if s.TTL == 0 {
		s.TTL = leaseTTL
	}
	if s.Cgroup == "" {
		s.Cgroup = "/reflex/collector"
	}
	if s.Configs == nil {
		var text strings.Builder
		if err := configuration.Execute(&text, s); err != nil {
			t.Fatal(err)
		}
		s.Configs = []string{Artefact(t, "collector.yaml", text.String())}
	}
	c := &Collector{setup: s, cgroup: MakeCgroup(t, s.Cgroup)}
	c.Again(t)
	return c
}

// Artefact writes a file that comes back with the scenario's logs and returns its
// path.
func Artefact(t testing.TB, name, text string) string {
	t.Helper()
	dir := filepath.Join("/out", strings.ReplaceAll(t.Name(), "/", "-"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// Again starts the collector again, as a service manager does after its death.
func (c *Collector) Again(t testing.TB) {
	t.Helper()
	argv := []string{c.setup.Binary}
	for _, path := range c.setup.Configs {
		argv = append(argv, "--config", path)
	}
	var env []string
	if c.setup.Role != "" {
		env = []string{roleEnv + "=" + c.setup.Role + ":" + strings.Join(argv, " ")}
		argv = os.Args[:1]
	}
	c.Process = StartAs(t, "collector", c.cgroup, c.setup.User, env, argv...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("status: %s", fetch("/status"))
			t.Logf("journal: %s", fetch("/journal"))
		}
	})
}

// Status is what scenarios read of the status page.
type Status struct {
	Mode struct {
		Requested string `json:"requested"`
		Effective string `json:"effective"`
	} `json:"mode"`
	Problem string `json:"problem"`
	Level   int    `json:"level"`
	Leases  []struct {
		Path    string `json:"path"`
		Phase   string `json:"phase"`
		Verdict string `json:"verdict"`
	} `json:"leases"`
	Guard struct {
		Reachable bool   `json:"reachable"`
		Cause     string `json:"cause"`
	} `json:"guard"`
	Input struct {
		Source   string `json:"source"`
		Sequence uint64 `json:"sequence"`
		Cgroups  int    `json:"cgroups"`
		Stale    bool   `json:"stale"`
	} `json:"input"`
	Judgement struct {
		Ready     bool    `json:"ready"`
		Anomalous bool    `json:"anomalous"`
		Score     float64 `json:"score"`
		Limit     float64 `json:"limit"`
	} `json:"judgement"`
	Missing []struct {
		Name   string `json:"name"`
		Cause  string `json:"cause"`
		Remedy string `json:"remedy"`
	} `json:"missing"`
}

// Record is what scenarios read of a journal record.
type Record struct {
	Kind       string  `json:"kind"`
	Reason     string  `json:"reason"`
	TickToKnob float64 `json:"tick_to_knob"` // seconds
	Cgroup     struct {
		Path string `json:"path"`
	} `json:"cgroup"`
	Outcome *struct {
		Verdict string `json:"verdict"`
		Cause   string `json:"cause"`
	} `json:"outcome"`
}

// fetch returns the body of a page, or the error as text.
func fetch(path string) []byte {
	body, err := get(path)
	if err != nil {
		return []byte(err.Error())
	}
	return body
}

func get(path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, statusURL+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", path, response.Status)
	}
	return body, err
}

// read decodes a page.
func read[T any](path string) (v T, err error) {
	body, err := get(path)
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(body, &v)
}

// AwaitStatus waits until the status page answers.
func (c *Collector) AwaitStatus(t testing.TB) {
	t.Helper()
	Eventually(t, 40*time.Second, func() error {
		select {
		case <-c.Ended():
			t.Fatalf("the collector ended with %d:\n%s", c.ExitCode(), c.Tail(30))
		default:
		}
		_, err := read[Status]("/status")
		return err
	})
}

// AwaitReady waits until the arc would act: the detector knows what is usual, the
// guard answers if it must, and nobody is touched. A false alarm of a machine
// whose host is busy may have made it watchful, which is no reason not to act.
func (c *Collector) AwaitReady(t testing.TB) {
	t.Helper()
	Eventually(t, 60*time.Second, func() error {
		s, err := read[Status]("/status")
		switch {
		case err != nil:
			return err
		case s.Mode.Effective != s.Mode.Requested:
			return fmt.Errorf("the mode in effect is %s: %s", s.Mode.Effective, s.Problem)
		case !s.Judgement.Ready:
			return errors.New("the detector is not ready")
		case s.Level > 1:
			return fmt.Errorf("level %d before anything happened", s.Level)
		}
		return nil
	})
}

// Journal returns the records so far.
func (c *Collector) Journal(t testing.TB) []Record {
	t.Helper()
	records, err := read[[]Record]("/journal?limit=10000")
	if err != nil {
		t.Fatalf("read the journal: %v", err)
	}
	return records
}

var errTooEarly = errors.New("too early")

// recorded is nil if a record has that verdict.
func recorded(records []Record, verdict string) error {
	for _, r := range records {
		if r.Outcome != nil && r.Outcome.Verdict == verdict {
			return nil
		}
	}
	return fmt.Errorf("none of %d records has the verdict %s", len(records), verdict)
}
