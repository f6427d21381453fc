// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mahalanobisprocessor

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.yaml.in/yaml/v3"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
	"github.com/otelcol-reflex/reflex/processor/mahalanobisprocessor/internal/metadata"
)

// TestMetadataAgreesWithTheScores keeps the documented metrics the written ones.
func TestMetadataAgreesWithTheScores(t *testing.T) {
	text, err := os.ReadFile("metadata.yaml")
	require.NoError(t, err)
	type described struct {
		Description string `yaml:"description"`
		Unit        string `yaml:"unit"`
		Gauge       *struct {
			ValueType string `yaml:"value_type"`
		} `yaml:"gauge"`
		Attributes []string `yaml:"attributes"`
	}
	var documented struct {
		ScopeName  string               `yaml:"scope_name"`
		Attributes map[string]described `yaml:"attributes"`
		Metrics    map[string]described `yaml:"metrics"`
	}
	require.NoError(t, yaml.Unmarshal(text, &documented))
	assert.Equal(t, metadata.ScopeName, documented.ScopeName)
	assert.Contains(t, documented.Attributes, attributeDimension)

	rm := pmetric.NewResourceMetrics()
	w := newScoreWriter("mahalanobis", "1", nil)
	w.append(rm, &arc.Judgement{NumContributions: 1}, 7)
	written := rm.ScopeMetrics().At(0).Metrics()
	assert.Equal(t, len(documented.Metrics), written.Len())
	for _, m := range written.All() {
		d, ok := documented.Metrics[m.Name()]
		require.True(t, ok, "%s is not in metadata.yaml", m.Name())
		assert.Equal(t, d.Unit, m.Unit(), m.Name())
		assert.Equal(t, d.Description, m.Description(), m.Name())
		require.Equal(t, pmetric.MetricTypeGauge, m.Type(), m.Name())
		p := m.Gauge().DataPoints().At(0)
		require.NotNil(t, d.Gauge, m.Name())
		want := pmetric.NumberDataPointValueTypeDouble
		if d.Gauge.ValueType == "int" {
			want = pmetric.NumberDataPointValueTypeInt
		}
		assert.Equal(t, want, p.ValueType(), m.Name())
		assert.Len(t, d.Attributes, p.Attributes().Len(), m.Name())
	}
}

func TestScoresCanBeSwitchedOff(t *testing.T) {
	names := func(off map[string]MetricConfig) (names []string) {
		rm := pmetric.NewResourceMetrics()
		w := newScoreWriter("mahalanobis", "1", off)
		w.append(rm, &arc.Judgement{NumContributions: 1}, 7)
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				names = append(names, m.Name())
			}
		}
		return names
	}
	all := names(nil)
	assert.Len(t, all, len(scores)+1)
	assert.Equal(t, all, names(map[string]MetricConfig{"reflex.score": {Enabled: true}}))
	off := map[string]MetricConfig{}
	for _, name := range all {
		assert.NotContains(t, names(map[string]MetricConfig{name: {}}), name)
		off[name] = MetricConfig{}
	}
	rm := pmetric.NewResourceMetrics()
	w := newScoreWriter("mahalanobis", "1", off)
	w.append(rm, &arc.Judgement{}, 7)
	assert.Zero(t, rm.ScopeMetrics().Len(), "no empty scope")
}

func TestAddedDimensionsAreJudgedOnTheArc(t *testing.T) {
	cfg := load(t, "mahalanobis/more")
	e, err := newEngine(cfg)
	require.NoError(t, err)
	src := newTicks()
	var j arc.Judgement
	for range 400 {
		e.Judge(src.next(), arc.Control{}, &j)
	}
	require.True(t, j.Ready)
	assert.Equal(t, src.sample.Sequence, j.Sequence)
	assert.False(t, j.Anomalous)
	src.sample.Node[arc.NodeExecs] += 5000
	e.Judge(src.next(), arc.Control{}, &j)
	assert.Equal(t, "system.process.execs", j.Contributions[0].Dimension)
	assert.True(t, j.Anomalous)

	src.sample.Period = int64(time.Second) // of a slow source that is hurried
	fresh := 0
	for range 40 {
		if e.Judge(src.next(), arc.Control{}, &j); j.Fresh {
			fresh++
		}
	}
	assert.InDelta(t, 4, fresh, 1, "decisions keep the source's own pace")

	cfg.Dimensions[0].Metric = "http.server.requests"
	_, err = newEngine(cfg)
	assert.ErrorContains(t, err, `dimensions::0: the samples of source "ebpf" have no http.server.requests`)

	cfg.Dimensions = nil
	e, err = newEngine(cfg)
	require.NoError(t, err)
	assert.IsType(t, &detect.Engine{}, e)
}
