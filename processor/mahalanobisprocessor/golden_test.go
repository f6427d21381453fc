// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mahalanobisprocessor

import (
	"context"
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/golden"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/pmetrictest"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/processor/processortest"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
	"github.com/otelcol-reflex/reflex/internal/reading"
	"github.com/otelcol-reflex/reflex/processor/mahalanobisprocessor/internal/metadata"
)

var writeGolden = flag.Bool("write-golden", false, "write the expected files instead of comparing with them")

// reader is a judge that knows no mathematics: each contribution is the
// dimension's level, or its rate a second since the last vector. The golden files
// are about what is read and written, and easy to check by hand.
type reader struct {
	dims []detect.Dimension
	last []float64
	at   int64

	state   string // what a checkpoint says
	restore error

	says  detect.Report
	audit func(*detect.Audit) bool
}

func newReader(c detect.Config) judge { return &reader{dims: c.Dimensions} }

func (r *reader) Report(to *detect.Report) { *to = r.says }

func (r *reader) TakeAudit(a *detect.Audit) bool { return r.audit != nil && r.audit(a) }

func (r *reader) Step(at detect.Instant, raw []float64, _ arc.Control, j *arc.Judgement) {
	elapsed := float64(at.Taken-r.at) / 1e9
	*j = arc.Judgement{
		Ready: r.at != 0, Fresh: true, Score: 5, Limit: 8, Velocity: 0.5, Acceleration: -0.25,
		Direction: 1.5, Deformation: 0.125, Regime: -2, Confidence: 0.75,
	}
	for i, d := range r.dims {
		v := raw[i]
		if d.Kind != detect.Level && r.last != nil {
			v = (raw[i] - r.last[i]) / elapsed
			if d.Kind == detect.Rate && v < 0 {
				v = math.NaN()
			}
		}
		if math.IsNaN(v) || j.NumContributions == arc.MaxContributions {
			continue
		}
		j.Contributions[j.NumContributions] = arc.Contribution{Dimension: d.Name, Share: math.Round(v*1e6) / 1e6}
		j.NumContributions++
	}
	j.Distance = float64(j.NumContributions)
	r.last, r.at = append(r.last[:0], raw...), at.Taken
}

func (r *reader) AppendCheckpoint(b []byte) []byte { return append(b, r.state...) }

func (r *reader) Restore(b []byte) error {
	if r.restore != nil {
		return r.restore
	}
	r.state = string(b)
	return nil
}

// created makes a processor by hand, so that a test can reach into it.
func created(t *testing.T, cfg *Config) (*mahalanobis, *factory) {
	t.Helper()
	p, err := newProcessor(processortest.NewNopSettings(metadata.Type), cfg)
	require.NoError(t, err)
	f := &factory{common: map[*Config]*shared{}}
	p.shared = f.share(cfg, processortest.NewNopSettings(metadata.Type).ID)
	return p, f
}

func TestGolden(t *testing.T) {
	jobs := []reading.Config{{Metric: "jobs.done", Kind: reading.KindCounter}}
	for name, configure := range map[string]func(*Config){
		"node": func(c *Config) {
			c.Dimensions = []reading.Config{{Metric: "system.process.execs", Kind: reading.KindCounter}}
		},
		"cgroup":       func(c *Config) { c.Preset = reading.Cgroup },
		"host_metrics": func(c *Config) { c.Preset = reading.HostMetrics },
		"custom": func(c *Config) {
			pay := map[string]string{"http.route": "/pay"}
			c.Preset, c.Dimensions = reading.Custom, []reading.Config{
				{Metric: "http.server.requests", Attributes: pay, Kind: reading.KindCounter},
				{Metric: "http.server.active_requests", Attributes: pay, Kind: reading.KindGauge},
				{Metric: "queue.size", Kind: reading.KindGrowth},
			}
		},
		"delta":  func(c *Config) { c.Preset, c.Dimensions = reading.Custom, jobs },
		"resets": func(c *Config) { c.Preset, c.Dimensions = reading.Custom, jobs },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := createDefaultConfig().(*Config)
			configure(cfg)
			p, _ := created(t, cfg)
			p.scores.processor, p.streams.judge = "mahalanobis/"+name, newReader
			require.NoError(t, p.start(context.Background(), host{}))
			for n := 1; ; n++ {
				path := filepath.Join("testdata", "golden", name, strconv.Itoa(n))
				in, err := golden.ReadMetrics(path + ".in.yaml")
				if errors.Is(err, os.ErrNotExist) && n > 1 {
					break
				}
				require.NoError(t, err)
				got := pmetric.NewMetrics()
				in.CopyTo(got)
				_, err = p.process(context.Background(), got)
				require.NoError(t, err)
				if *writeGolden {
					sorted := pmetric.NewMetrics()
					got.CopyTo(sorted)
					require.NoError(t, golden.WriteMetricsToFile(path+".out.yaml", sorted, golden.SkipMetricTimestampNormalization()))
				}
				want, err := golden.ReadMetrics(path + ".out.yaml")
				require.NoError(t, err)
				require.NoError(t, pmetrictest.CompareMetrics(want, got, pmetrictest.IgnoreResourceMetricsOrder(), pmetrictest.IgnoreScopeMetricsOrder(),
					pmetrictest.IgnoreMetricsOrder(), pmetrictest.IgnoreMetricDataPointsOrder()), path)
				if cfg.Preset == reading.Node {
					in = unnumbered(in)
				}
				require.NoError(t, pmetrictest.CompareMetrics(in, unscored(got)), "%s: nothing but the score was added", path)
			}
			require.NoError(t, p.shutdown(context.Background()))
		})
	}
}

// unscored is md without its scores.
func unscored(md pmetric.Metrics) pmetric.Metrics {
	for _, rm := range md.ResourceMetrics().All() {
		rm.ScopeMetrics().RemoveIf(func(sm pmetric.ScopeMetrics) bool { return sm.Scope().Name() == metadata.ScopeName })
	}
	return md
}

// unnumbered is md without the sequence number, which preset node takes off.
func unnumbered(md pmetric.Metrics) pmetric.Metrics {
	for _, rm := range md.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			sm.Scope().Attributes().Remove(reading.AttributeSequence)
		}
	}
	return md
}

func TestTwoProcessorsJudgeOneResource(t *testing.T) {
	sink := new(consumertest.MetricsSink)
	var ps []*mahalanobis
	for _, name := range []string{"one", "two"} {
		cfg := createDefaultConfig().(*Config)
		cfg.Preset, cfg.Dimensions = reading.Custom, []reading.Config{{Metric: "jobs.done", Kind: reading.KindCounter}}
		p, _ := created(t, cfg)
		p.scores.processor, p.streams.judge = "mahalanobis/"+name, newReader
		require.NoError(t, p.start(context.Background(), host{}))
		ps = append(ps, p)
	}
	for n := 1; n <= 2; n++ {
		md, err := golden.ReadMetrics(filepath.Join("testdata", "golden", "resets", strconv.Itoa(n)+".in.yaml"))
		require.NoError(t, err)
		for _, p := range append(ps, ps[0]) { // the first twice: it does not judge what it has judged
			_, err = p.process(context.Background(), md)
			require.NoError(t, err)
		}
		require.NoError(t, sink.ConsumeMetrics(context.Background(), md))
	}
	scopes := sink.AllMetrics()[1].ResourceMetrics().At(0).ScopeMetrics()
	require.Equal(t, 3, scopes.Len())
	for i, want := range []string{"mahalanobis/one", "mahalanobis/two"} {
		id, _ := scopes.At(1 + i).Scope().Attributes().Get(attributeProcessor)
		require.Equal(t, want, id.Str())
	}
	for _, p := range ps {
		require.NoError(t, p.shutdown(context.Background()))
	}
}
