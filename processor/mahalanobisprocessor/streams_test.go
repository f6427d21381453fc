// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mahalanobisprocessor

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/reading"
)

// feeder feeds streams with batches at times of its own.
type feeder struct {
	*streams
	instant time.Time
	k       int64
}

func newFeeder(t testing.TB, cfg *Config) *feeder {
	t.Helper()
	f := &feeder{instant: time.Unix(0, 0)}
	s, err := newStreams(cfg, func() time.Time { return f.instant })
	require.NoError(t, err)
	f.streams = s
	return f
}

func (f *feeder) feed(md pmetric.Metrics) (opened, dropped, late int) {
	f.begin(arc.Control{})
	for i := range md.ResourceMetrics().Len() {
		f.reader.Read(i, md.ResourceMetrics().At(i))
	}
	return f.end()
}

func TestStreamsAreBounded(t *testing.T) {
	cfg := load(t, "mahalanobis/host")
	cfg.MaxStreams = 2
	f := newFeeder(t, cfg)
	rng := rand.New(rand.NewPCG(1, 1))
	scrape := func(names ...string) (opened, dropped int) {
		f.k++
		all := pmetric.NewMetrics()
		for _, name := range names {
			hostScrape(rng, f.k, name, 0).ResourceMetrics().MoveAndAppendTo(all.ResourceMetrics())
		}
		opened, dropped, _ = f.feed(all)
		return opened, dropped
	}
	opened, dropped := scrape("a", "b", "c")
	assert.Equal(t, 2, opened)
	assert.Equal(t, 2, dropped, "both pieces of c")
	f.instant = f.instant.Add(cfg.MaxStale / 2)
	scrape("a")
	f.instant = f.instant.Add(cfg.MaxStale / 2)
	opened, dropped = scrape("a", "c")
	assert.Equal(t, 0, opened, "c for b, which has not been heard of")
	assert.Zero(t, dropped)
	assert.Len(t, f.byResource, 2)
	f.instant = f.instant.Add(cfg.MaxStale)
	opened, _ = scrape("d")
	assert.Equal(t, -1, opened)
	assert.Len(t, f.byResource, 1, "a and c are gone")
	assert.Equal(t, 1, f.byUse.Len())
}

// crowd is one resource that can be made another.
func crowd() (md pmetric.Metrics, become func(n int64)) {
	md = pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutInt("n", 0)
	put(rm.ScopeMetrics().AppendEmpty(), "queue.size", false, 1, 1)
	n, _ := rm.Resource().Attributes().Get("n")
	return md, func(to int64) { n.SetInt(to) }
}

func queues(most int) *Config {
	cfg := createDefaultConfig().(*Config)
	cfg.Preset, cfg.Dimensions, cfg.MaxStreams = reading.Custom, []reading.Config{{Metric: "queue.size", Kind: reading.KindGauge}}, most
	return cfg
}

func TestAMillionResourcesPassWithoutGrowth(t *testing.T) {
	const most = 100
	f := newFeeder(t, queues(most))
	f.judge = newReader
	md, become := crowd()
	refused, born := 0, 0
	f.born = func(*stream) { born++ }
	for n := range int64(1_000_000) {
		become(n)
		if n%1000 == 0 {
			f.instant = f.instant.Add(f.config.MaxStale / 10)
		}
		_, dropped, _ := f.feed(md)
		refused += dropped
		if len(f.byResource) > most || f.byUse.Len() != len(f.byResource) {
			t.Fatalf("%d streams after %d resources", len(f.byResource), n)
		}
	}
	assert.Equal(t, 1_000_000, refused+born)
	assert.Equal(t, most*100, born, "as old ones fall out of use, new ones get their turn")
}

func TestARefusedResourceCostsNoMemory(t *testing.T) {
	f := newFeeder(t, queues(1))
	md, become := crowd()
	f.feed(md)
	n := int64(0)
	assert.LessOrEqual(t, testing.AllocsPerRun(1000, func() {
		n++
		become(n)
		f.feed(md)
	}), 2.0)
}

func TestLateMeasurementsAreCountedAndNotJudged(t *testing.T) {
	f := newFeeder(t, queues(1))
	judged := 0
	f.judge = newReader
	f.judged = func(*stream, int, *arc.Judgement, pcommon.Timestamp) { judged++ }
	md, _ := crowd()
	p := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().At(0)
	for _, at := range []pcommon.Timestamp{10, 20, 15} {
		p.SetTimestamp(at)
		_, _, late := f.feed(md)
		assert.Equal(t, at == 15, late == 1)
	}
	assert.Equal(t, 2, judged)
}

func BenchmarkRefusedResource(b *testing.B) {
	f := newFeeder(b, queues(1000))
	f.judge = newReader
	md, become := crowd()
	n := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		n++
		become(n)
		f.feed(md)
	}
}
