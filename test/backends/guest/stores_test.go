// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/test/e2e/guest"
)

const (
	metricsStore = "http://127.0.0.1:8428"
	logsStore    = "http://127.0.0.1:9428"
	tracesStore  = "http://127.0.0.1:16686"

	configuration = `
extensions:
  reflex:
    mode: enforce
    policy: {startup_grace: 5s, release_after: 2s, close_after: 5s}
receivers:
  ebpf:
  reflex:
    metrics_interval: 1s
processors:
  mahalanobis: {preset: node, warmup: 45s}
exporters:
  otlp_http/metrics:
    metrics_endpoint: ` + metricsStore + `/opentelemetry/v1/metrics
  otlp_http/logs:
    logs_endpoint: ` + logsStore + `/insert/opentelemetry/v1/logs
    headers: {VL-Msg-Field: "reflex.reason,event_name"}
    sending_queue: {enabled: false}
  otlp_http/traces:
    traces_endpoint: http://127.0.0.1:4318/v1/traces
    sending_queue: {enabled: false}
service:
  extensions: [reflex]
  pipelines:
    metrics/node: {receivers: [ebpf], processors: [mahalanobis], exporters: [otlp_http/metrics]}
    metrics/reflex: {receivers: [reflex], exporters: [otlp_http/metrics]}
    logs/reflex: {receivers: [reflex], exporters: [otlp_http/logs]}
    traces/reflex: {receivers: [reflex], exporters: [otlp_http/traces]}
  telemetry: {metrics: {level: none}}
`
)

// get asks a store, and keeps what it answered under a name.
func get(t *testing.T, keep, address string, query url.Values) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if query != nil {
		address += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
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
		err = fmt.Errorf("%s: %s: %.200s", address, response.Status, body)
	}
	if err == nil && keep != "" {
		err = os.WriteFile(filepath.Join("/out", keep), body, 0o644)
	}
	return body, err
}

// store starts one and waits until it answers.
func store(t *testing.T, name, health string, env []string, argv ...string) {
	t.Helper()
	guest.Start(t, name, guest.MakeCgroup(t, "/stores/"+name), env, argv...)
	guest.Eventually(t, 2*time.Minute, func() error {
		_, err := get(t, "", health, nil)
		return err
	})
}

// record is what is read of the journal.
type record struct {
	ID      uint64 `json:"id"`
	Kind    string `json:"kind"`
	Episode string `json:"episode"`
	Cgroup  struct {
		Path string `json:"path"`
	} `json:"cgroup"`
}

func journal(t *testing.T) ([]record, error) {
	t.Helper()
	body, err := get(t, "journal.json", "http://127.0.0.1:13134/journal", url.Values{"limit": {"10000"}})
	if err != nil {
		return nil, err
	}
	var all []record
	return all, json.Unmarshal(body, &all)
}

// work is a load that comes and goes. In emulation what a watchful collector does is as
// much; without it that alone would be unusual.
func work(t *testing.T) {
	t.Helper()
	c := guest.MakeCgroup(t, "/batch")
	c.Set(t, "cpu.max", "10000 100000")
	guest.Start(t, "batch", c, []string{guest.Role("spinner")}, os.Args[0])
	ended := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(ended)
		for on := false; ; on = !on {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Second):
			}
			quota := "10000 100000"
			if on {
				quota = "70000 100000"
			}
			assert.NoError(t, os.WriteFile(filepath.Join(c.Dir(), "cpu.max"), []byte(quota), 0o644))
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-ended
	})
}

func TestStores(t *testing.T) {
	data := t.TempDir()
	store(t, "victoria-metrics", metricsStore+"/health", nil, "/bin/victoria-metrics", "-storageDataPath="+data+"/metrics",
		"-httpListenAddr=127.0.0.1:8428", "-opentelemetry.usePrometheusNaming", "-search.latencyOffset=0s", "-memory.allowedBytes=256MB")
	store(t, "victoria-logs", logsStore+"/health", nil, "/bin/victoria-logs", "-storageDataPath="+data+"/logs", "-httpListenAddr=127.0.0.1:9428", "-memory.allowedBytes=256MB")
	store(t, "jaeger", tracesStore+"/", []string{"SPAN_STORAGE_TYPE=memory", "COLLECTOR_OTLP_ENABLED=true"}, "/bin/jaeger",
		"--collector.otlp.http.host-port=127.0.0.1:4318", "--query.http-server.host-port=127.0.0.1:16686", "--log-level=warn")

	shop := guest.OpenShop(t)
	work(t)
	guest.StartGuard(t)
	collector := guest.StartCollector(t, guest.Setup{Configs: []string{guest.Artefact(t, "collector.yaml", configuration)}})
	collector.AwaitReady(t)
	onset := shop.Leak(t)
	shop.PaymentWatch.Await(t, "containment", onset, 30*time.Second, func(v string) bool { return v != "max" })
	t.Log("contained")
	// A service that somebody restarts: what it leaked is free again, and the node as it was.
	guest.Eventually(t, 20*time.Second, func() error {
		if time.Since(onset) < 12*time.Second {
			return errors.New("it goes on for a while")
		}
		return nil
	})
	shop.Payment.Set(t, "cgroup.kill", 1)

	// The episode is the last one that named the culprit; and it comes to its end.
	var (
		episode string
		records []record
	)
	guest.Eventually(t, 4*time.Minute, func() error {
		all, err := journal(t)
		if err != nil {
			return err
		}
		closed := false
		episode, records = "", nil
		for _, r := range all {
			if r.Kind == "action" && r.Cgroup.Path == "/shop/payment" {
				episode = r.Episode
			}
		}
		for _, r := range all {
			if r.Episode == episode && episode != "" {
				records = append(records, r)
				closed = closed || r.Kind == "closed"
			}
		}
		if !closed {
			return errors.New("the episode is not over")
		}
		return nil
	})
	t.Logf("over %v after the onset", time.Since(onset).Round(time.Second))
	t.Logf("episode %s: %d records", episode, len(records))
	_, err := get(t, "explanation.json", "http://127.0.0.1:13134/episodes/"+episode, nil)
	require.NoError(t, err)

	t.Run("logs", func(t *testing.T) { logs(t, episode, records) })
	t.Run("traces", func(t *testing.T) { traces(t, episode) })
	t.Run("metrics", func(t *testing.T) { metrics(t, onset) })
	shop.Close(t)
}

// logs asks VictoriaLogs for the episode's events: each record is there, once.
func logs(t *testing.T, episode string, records []record) {
	t.Helper()
	guest.Eventually(t, time.Minute, func() error {
		body, err := get(t, "logs.jsonl", logsStore+"/select/logsql/query", url.Values{
			"query": {`"reflex.episode.id":` + episode + ` | sort by (_time)`}, "limit": {"10000"},
		})
		if err != nil {
			return err
		}
		seen := map[string]int{}
		lines := bufio.NewScanner(bytes.NewReader(body))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var event map[string]string
			if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
				return err
			}
			if message := event["_msg"]; message == "" || strings.HasPrefix(message, "missing") {
				return fmt.Errorf("an event without a message: %s", lines.Text())
			}
			seen[event["reflex.record.id"]]++
		}
		for _, r := range records {
			id := episode + "-" + strconv.FormatUint(r.ID, 10)
			if r.Kind == "closed" {
				id = episode + "-closed"
			}
			if seen[id] != 1 {
				return fmt.Errorf("record %s is there %d times, of %d", id, seen[id], len(seen))
			}
		}
		return nil
	})
}

// reference is of a span to another: its parent, or one that it links to.
type reference struct {
	Type string `json:"refType"`
}

func references(to []reference) (types []string) {
	for _, r := range to {
		types = append(types, r.Type)
	}
	return types
}

// traces asks Jaeger for the trace: a root from opening to end, levels and actions below.
func traces(t *testing.T, episode string) {
	t.Helper()
	guest.Eventually(t, time.Minute, func() error {
		body, err := get(t, "trace.json", tracesStore+"/api/traces/"+episode, nil)
		if err != nil {
			return err
		}
		var found struct {
			Data []struct {
				Spans []struct {
					OperationName string      `json:"operationName"`
					References    []reference `json:"references"`
				} `json:"spans"`
			} `json:"data"`
		}
		if err := json.Unmarshal(body, &found); err != nil {
			return err
		}
		names := map[string]int{}
		for _, trace := range found.Data {
			for _, span := range trace.Spans {
				names[span.OperationName]++
				if root := span.OperationName == "reflex.episode"; root == slices.Contains(references(span.References), "CHILD_OF") {
					return fmt.Errorf("span %s refers to %v", span.OperationName, span.References)
				}
			}
		}
		for _, want := range []string{"reflex.episode", "reflex.level.watchfulness", "reflex.level.containment", "reflex.action.memory.high"} {
			if names[want] == 0 {
				return fmt.Errorf("there is no span %s: %v", want, names)
			}
		}
		if names["reflex.episode"] != 1 {
			return fmt.Errorf("there are %d roots", names["reflex.episode"])
		}
		return nil
	})
}

// metrics asks VictoriaMetrics, by the names that Prometheus gives them.
func metrics(t *testing.T, onset time.Time) {
	t.Helper()
	value := func(keep, query string) float64 {
		var out float64
		guest.Eventually(t, time.Minute, func() error {
			body, err := get(t, keep, metricsStore+"/api/v1/query", url.Values{"query": {query}})
			if err != nil {
				return err
			}
			var answer struct {
				Data struct {
					Result []struct {
						Value [2]any `json:"value"`
					} `json:"result"`
				} `json:"data"`
			}
			if err := json.Unmarshal(body, &answer); err != nil {
				return err
			}
			if len(answer.Data.Result) == 0 {
				return fmt.Errorf("%s: nothing", query)
			}
			out, err = strconv.ParseFloat(fmt.Sprint(answer.Data.Result[0].Value[1]), 64)
			return err
		})
		return out
	}
	assert.GreaterOrEqual(t, value("level.json", `max_over_time(reflex_level[15m])`), 2.0)
	assert.GreaterOrEqual(t, value("episodes.json", `max(reflex_episodes_total)`), 1.0)
	assert.GreaterOrEqual(t, value("actions.json", `sum(reflex_actions_total{reflex_action="memory.high",reflex_verdict="granted"})`), 1.0)
	assert.Greater(t, value("distance.json", `max_over_time(reflex_score_ratio[15m])`), value("limit.json", `max_over_time(reflex_score_limit_ratio[15m])`))
	assert.Positive(t, value("knob.json", `max(reflex_tick_to_knob_seconds_count)`))
	guest.Eventually(t, 20*time.Second, func() error {
		if n := value("backlog.json", `max(reflex_journal_backlog)`); n > 0 {
			return fmt.Errorf("%.0f records have not been accepted", n)
		}
		return nil
	})
	// The flight recorder: the ticks from before the onset are there, ten a second.
	before := fmt.Sprintf(`count_over_time(system_memory_used_bytes[10s] @ %d)`, onset.Unix())
	points := value("recorder.json", before)
	t.Logf("%.0f points of the 10 s before the onset", points)
	assert.Greater(t, points, 80.0)
	body, err := get(t, "score.json", metricsStore+"/api/v1/query_range", url.Values{
		"query": {"reflex_score_ratio"}, "start": {strconv.FormatInt(onset.Add(-15*time.Second).Unix(), 10)}, "end": {strconv.FormatInt(onset.Add(30*time.Second).Unix(), 10)}, "step": {"1s"},
	})
	require.NoError(t, err)
	var course struct {
		Data struct {
			Result []struct {
				Values [][2]any `json:"values"`
			} `json:"result"`
		} `json:"data"`
	}
	require.NoError(t, json.Unmarshal(body, &course))
	require.Len(t, course.Data.Result, 1)
	assert.Greater(t, len(course.Data.Result[0].Values), 20, "the score around the onset can be drawn")
}
