// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/test/e2e/guest"
	"github.com/otelcol-reflex/reflex/test/outage"
)

const (
	statusURL = "http://127.0.0.1:13134"
	// original is memory.high of the payment service before anybody acts.
	original = "838860800"
	ttl      = 5 * time.Second
	// containWithin is patience, not a promise: the host may be busy.
	containWithin = 30 * time.Second
	// goesOn is how long an outage lasts after the leak was contained.
	goesOn = 12 * time.Second
	// arriveWithin is patience for what was held back.
	arriveWithin = 90 * time.Second
)

// configuration is the shipped one, as it is meant where the story must survive:
// a journal in a file, episodes with an exporter of their own, and what was
// learned in a storage. It retries faster, and learns for seconds only.
var configuration = template.Must(template.New("collector.yaml").Parse(`
extensions:
  reflex:
    mode: enforce
    guard: {{.Guard}}
    journal:
      file: {{.Journal}}
    lease: {ttl: {{.TTL}}, renew: 1s}
    policy: {startup_grace: 5s}
  file_storage:
    directory: {{.Storage}}
    create_directory: true
    recreate: true
receivers:
  ebpf:
  reflex:
    metrics_interval: 2s
processors:
  memory_limiter: {check_interval: 1s, limit_mib: 128, spike_limit_mib: 32}
  mahalanobis:
    preset: node
    warmup: 12s
    false_alarm_interval: 10m
    storage: file_storage
    checkpoint_interval: 5s
  batch: {timeout: 1s}
exporters:
  otlp_http:
    endpoint: http://{{.Backend}}
    timeout: 2s
    sending_queue: {queue_size: 1000}
    retry_on_failure: {initial_interval: 200ms, max_interval: 1s, max_elapsed_time: 0s}
  otlp_http/episodes:
    endpoint: http://{{.Backend}}
    timeout: 2s
    sending_queue: {enabled: false}
    retry_on_failure: {initial_interval: 200ms, max_interval: 1s, max_elapsed_time: 0s}
service:
  extensions: [file_storage, reflex]
  pipelines:
    metrics/node: {receivers: [ebpf], processors: [memory_limiter, mahalanobis, batch], exporters: [otlp_http]}
    metrics/reflex: {receivers: [reflex], exporters: [otlp_http]}
    logs/reflex: {receivers: [reflex], exporters: [otlp_http/episodes]}
    traces/reflex: {receivers: [reflex], exporters: [otlp_http/episodes]}
  telemetry: {metrics: {level: none}}
`))

// Setting is one collector with all that is around it.
type Setting struct {
	t         *testing.T
	Shop      *guest.Shop
	Tap       *guest.Tap
	Backend   *Backend
	Collector *guest.Collector
	Config    string // path of the configuration
	Journal   string // path of the journal's file
	Storage   string // directory of the storage
	// Target is what the exporters are told, if not the backend's own address.
	Target string

	result   outage.Case
	expected map[string]string // what the journal says, by record id
	orders   int               // written before the outage
}

// Prepare opens the shop and starts guard and backend.
func Prepare(t *testing.T, listener net.Listener) *Setting {
	t.Helper()
	dir := t.TempDir()
	s := &Setting{
		t: t, Journal: filepath.Join(dir, "journal", "journal.db"), Storage: filepath.Join(dir, "storage"),
		expected: map[string]string{}, result: outage.Case{Failures: []string{}},
	}
	s.Shop = guest.OpenShop(t)
	s.Shop.Payment.Set(t, "memory.high", original)
	s.Shop.PaymentWatch.Await(t, "the original", time.Time{}, 5*time.Second, func(v string) bool { return v == original })
	guest.StartGuard(t)
	s.Tap = guest.StartTap(t)
	s.Backend = Serve(listener)
	t.Cleanup(s.Backend.Close)
	return s
}

// Start starts the collector and waits until the arc would act.
func (s *Setting) Start() {
	s.t.Helper()
	if s.Target == "" {
		s.Target = s.Backend.Address
	}
	var text strings.Builder
	if err := configuration.Execute(&text, map[string]any{
		"Guard": s.Tap.Socket, "Journal": s.Journal, "Storage": s.Storage, "Backend": s.Target, "TTL": ttl,
	}); err != nil {
		s.t.Fatal(err)
	}
	s.Config = guest.Artefact(s.t, "collector.yaml", text.String())
	s.Collector = guest.StartCollector(s.t, guest.Setup{Guard: s.Tap.Socket, Configs: []string{s.Config}})
	s.Collector.AwaitReady(s.t)
}

// runs is how often the collector has begun to run.
func (s *Setting) runs() int {
	return strings.Count(s.Collector.Output(), "Everything is ready")
}

// running waits until it has once more: before that it does not heed a signal.
func (s *Setting) running(before int) {
	s.t.Helper()
	guest.Eventually(s.t, 60*time.Second, func() error {
		if s.runs() == before {
			return errors.New("the collector does not run")
		}
		return nil
	})
	s.Collector.AwaitStatus(s.t)
}

// Again starts the collector again, as a service manager does after its death.
func (s *Setting) Again() {
	s.t.Helper()
	before := s.runs()
	s.Collector.Again(s.t)
	s.running(before)
}

// journal reads the records that the journal has, and notes them as expected.
func (s *Setting) journal() error {
	var records []episode.Record
	if err := get("/journal?limit=10000", &records); err != nil {
		return err
	}
	for i := range records {
		r := &records[i]
		verdict, cause := "", ""
		if r.Outcome != nil {
			verdict, cause = r.Outcome.Verdict.String(), r.Outcome.Cause
		}
		s.expected[r.Name()] = said(r.Reason, episode.LevelName(r.Level), r.Cgroup.Path, verdict, cause)
	}
	return nil
}

// Note notes what the journal has now: it may be about to end.
func (s *Setting) Note() {
	s.t.Helper()
	guest.Eventually(s.t, 10*time.Second, s.journal)
}

func get(path string, v any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, statusURL+path, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", path, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(v)
}

// Fail notes a promise that was not kept.
func (s *Setting) Fail(format string, args ...any) {
	s.t.Helper()
	text := fmt.Sprintf(format, args...)
	s.result.Failures = append(s.result.Failures, text)
	s.t.Error(text)
}

// Contain lets the payment service leak and waits until it is contained.
func (s *Setting) Contain() {
	s.t.Helper()
	s.orders = len(s.Tap.TickToKnob())
	onset := s.Shop.Leak(s.t)
	s.Shop.PaymentWatch.Await(s.t, "containment", onset, containWithin, func(v string) bool { return v != original && v != "max" })
}

// Pass lets time pass.
func (s *Setting) Pass(d time.Duration) {
	s.t.Helper()
	until := time.Now().Add(d)
	guest.Eventually(s.t, d+time.Second, func() error {
		if time.Now().Before(until) {
			return fmt.Errorf("until %v", until)
		}
		return nil
	})
}

// Measured takes the time of the orders written since the leak began.
func (s *Setting) Measured() {
	s.t.Helper()
	all := s.Tap.TickToKnob()[s.orders:]
	if len(all) == 0 {
		s.Fail("no order was written")
		return
	}
	slices.Sort(all)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	s.result.Orders, s.result.TickToKnobP50, s.result.TickToKnobP99 = len(all), ms(all[len(all)/2]), ms(all[len(all)*99/100])
}

// Arrives waits until the backend has all that the journal has, and something of the
// other signals, or patience is over.
func (s *Setting) Arrives() {
	s.t.Helper()
	began := time.Now()
	for {
		err := s.journal()
		got := s.Backend.Records()
		missing := 0
		for id := range s.expected {
			if _, yes := got[id]; !yes {
				missing++
			}
		}
		traces, metrics := s.Backend.Others()
		if err == nil && missing == 0 && traces > 0 && metrics > 0 {
			break
		}
		if time.Since(began) > arriveWithin {
			if err != nil {
				s.Fail("the journal cannot be read: %v", err)
			}
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.result.CaughtUp = time.Since(began).Seconds()
}

// Count compares what arrived with what was expected.
func (s *Setting) Count() {
	s.t.Helper()
	got := s.Backend.Records()
	s.result.Expected = len(s.expected)
	for id, want := range s.expected {
		r, yes := got[id]
		switch {
		case !yes:
			s.result.Lost++
			s.t.Logf("lost: %s: %s", id, want)
			continue
		case r.Altered || r.Said != want:
			s.result.Altered++
			s.t.Logf("altered: %s: %q, the journal says %q", id, r.Said, want)
		}
		if r.Copies > 1 {
			s.result.Repeated++
		}
		s.result.Delivered++
	}
	if s.result.Lost+s.result.Altered > 0 {
		s.t.Errorf("%d lost, %d altered of %d", s.result.Lost, s.result.Altered, s.result.Expected)
	}
	if traces, metrics := s.Backend.Others(); traces == 0 || metrics == 0 {
		s.Fail("of the other signals %d requests with traces and %d with metrics arrived", traces, metrics)
	}
}

// End stops the collector as a service manager does.
func (s *Setting) End() {
	s.t.Helper()
	s.Collector.Stop(s.t)
	if code := s.Collector.ExitCode(); code != 0 {
		s.Fail("the collector ended with %d", code)
	}
	s.Shop.Close(s.t)
}

// Report leaves the result for the host.
func (s *Setting) Report(number int, name string) {
	s.t.Helper()
	s.result.Name = name
	text, err := json.Marshal(&s.result)
	if err == nil {
		err = os.MkdirAll("/out/cases", 0o755)
	}
	if err == nil {
		err = os.WriteFile(fmt.Sprintf("/out/cases/%02d.json", number), text, 0o644)
	}
	if err != nil {
		s.t.Error(err)
	}
}
