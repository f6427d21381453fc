// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package examples

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metricsql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const repository = "../.."

// described is what metadata.yaml says of a component's metrics.
type described struct {
	Attributes map[string]struct {
		Name string `yaml:"name_override"`
	} `yaml:"attributes"`
	Metrics map[string]struct {
		Unit       string    `yaml:"unit"`
		Sum        *struct{} `yaml:"sum"`
		Gauge      *struct{} `yaml:"gauge"`
		Attributes []string  `yaml:"attributes"`
	} `yaml:"metrics"`
}

// units are the suffixes of units in Prometheus.
var units = map[string]string{"By": "_bytes", "s": "_seconds", "1": "_ratio", "1/s": "_per_second", "1/s2": "_per_second_squared"}

var forbidden = regexp.MustCompile(`[^a-zA-Z0-9_]`)

// named is what OTLP's names become (OpenTelemetry, Prometheus and OpenMetrics
// Compatibility: dots, units, counters).
func named(name, unit string, counter bool) string {
	out := forbidden.ReplaceAllString(name, "_")
	if suffix := units[unit]; suffix != "" && (unit != "1" || !counter) {
		out += suffix
	}
	if counter {
		out += "_total"
	}
	return out
}

// emitted returns the metrics in Prometheus, each with its labels.
func emitted(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, component := range []string{"receiver/ebpfreceiver", "receiver/reflexreceiver", "processor/mahalanobisprocessor"} {
		text, err := os.ReadFile(filepath.Join(repository, component, "metadata.yaml"))
		require.NoError(t, err)
		var d described
		require.NoError(t, yaml.Unmarshal(text, &d))
		require.NotEmpty(t, d.Metrics, component)
		for name, m := range d.Metrics {
			labels := []string{"instance", "job", "__name__"}
			for _, a := range m.Attributes {
				if o := d.Attributes[a].Name; o != "" {
					a = o
				}
				labels = append(labels, forbidden.ReplaceAllString(a, "_"))
			}
			out[named(name, m.Unit, m.Sum != nil)] = labels
			if component == "receiver/ebpfreceiver" && m.Gauge != nil { // in calm
				out[named(name+".min", m.Unit, false)], out[named(name+".max", m.Unit, false)] = labels, labels
			}
		}
	}
	// The histogram, which mdatagen does not know: the receiver's README has it.
	readme, err := os.ReadFile(filepath.Join(repository, "receiver/reflexreceiver/README.md"))
	require.NoError(t, err)
	require.Contains(t, string(readme), "| `reflex.tick_to_knob` | histogram, cumulative | `s` |")
	for _, part := range []string{"_bucket", "_sum", "_count"} {
		out["reflex_tick_to_knob_seconds"+part] = []string{"instance", "job", "le", "__name__"}
	}
	return out
}

// expressions returns what a file asks, by where.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	text, err := os.ReadFile(filepath.Join(repository, "examples/prometheus/alerts.yaml"))
	require.NoError(t, err)
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert       string
				Expr        string
				Annotations map[string]string
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &rules))
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			assert.NotEmpty(t, r.Annotations["summary"], r.Alert)
			out["alert "+r.Alert] = r.Expr
		}
	}
	text, err = os.ReadFile(filepath.Join(repository, "examples/grafana/reflex.json"))
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			Title, Description string
			Targets            []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &dashboard))
	for _, p := range dashboard.Panels {
		assert.NotEmpty(t, p.Description, p.Title)
		for i, target := range p.Targets {
			out["panel "+p.Title+string(rune('A'+i))] = strings.NewReplacer("$__rate_interval", "1m", "$instance", ".*").Replace(target.Expr)
		}
	}
	return out
}

func TestDashboardAndAlertsAskForWhatIsEmitted(t *testing.T) {
	known := emitted(t)
	all := expressions(t)
	assert.Greater(t, len(all), 20)
	for where, text := range all {
		e, err := metricsql.Parse(text)
		require.NoError(t, err, "%s: %s", where, text)
		asked := 0
		metricsql.VisitAll(e, func(e metricsql.Expr) {
			m, is := e.(*metricsql.MetricExpr)
			if !is {
				return
			}
			for _, filters := range m.LabelFilterss {
				name := filters[0].Value
				labels, exists := known[name]
				if !assert.True(t, exists, "%s asks for %s, which nobody emits", where, name) {
					continue
				}
				asked++
				for _, f := range filters {
					assert.True(t, slices.Contains(labels, f.Label), "%s: %s has no label %s", where, name, f.Label)
				}
			}
		})
		assert.Positive(t, asked, where)
	}
}
