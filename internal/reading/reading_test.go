// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otelcol-reflex/reflex/internal/detect"
)

// point is one data point of a metric.
type point struct {
	value     float64
	start, at int64 // s
	labels    string
	empty     bool // no recorded value
}

const (
	gauge = iota
	cumulative
	delta
)

func fill(m pmetric.Metric, name string, kind int, points ...point) {
	m.SetName(name)
	slice := m.SetEmptyGauge().DataPoints()
	if kind != gauge {
		sum := m.SetEmptySum()
		sum.SetIsMonotonic(true)
		sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		if kind == delta {
			sum.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
		}
		slice = sum.DataPoints()
	}
	for _, p := range points {
		q := slice.AppendEmpty()
		q.SetDoubleValue(p.value)
		q.SetStartTimestamp(pcommon.Timestamp(p.start * 1e9))
		q.SetTimestamp(pcommon.Timestamp(p.at * 1e9))
		q.SetFlags(q.Flags().WithNoRecordedValue(p.empty))
		if p.labels != "" {
			q.Attributes().PutStr("route", p.labels)
		}
	}
}

// follower reads batches of one resource and takes the difference of successive
// values as the vectoriser does.
type follower struct {
	t      *testing.T
	reader *Reader
	stream *Stream
	last   float64
	rates  []float64 // per second; NaN missing
	at     int64
}

func follow(t *testing.T, config Config) *follower {
	t.Helper()
	v, err := New(Custom, []Config{config})
	require.NoError(t, err)
	f := &follower{t: t, stream: v.NewStream()}
	f.reader = NewReader(v, func(Key, pcommon.Resource) *Stream { return f.stream }, func(x Vector) {
		if f.at != 0 {
			rate := (x.Raw[0] - f.last) / (float64(x.At-f.at) / 1e9)
			if rate < 0 {
				rate = math.NaN()
			}
			f.rates = append(f.rates, rate)
		}
		f.last, f.at = x.Raw[0], x.At
	})
	return f
}

func TestASumBecomesARateOverMeasuredTime(t *testing.T) {
	nan := math.NaN()
	for _, tt := range []struct {
		name   string
		kind   int
		points [][]point // by scrape
		rates  []float64
	}{
		{"even", cumulative, [][]point{{{100, 1, 10, "", false}}, {{150, 1, 20, "", false}}, {{160, 1, 30, "", false}}}, []float64{5, 1}},
		{"uneven time", cumulative, [][]point{{{100, 1, 10, "", false}}, {{150, 1, 35, "", false}}}, []float64{2}},
		{"series are added up", cumulative, [][]point{
			{{100, 1, 10, "a", false}, {200, 1, 10, "b", false}}, {{150, 1, 20, "a", false}, {300, 1, 20, "b", false}},
		}, []float64{15}},
		{"reset with a start timestamp counts from nothing", cumulative, [][]point{
			{{100, 1, 10, "", false}}, {{30, 12, 20, "", false}}, {{50, 12, 30, "", false}},
		}, []float64{3, 2}},
		{"reset of one series, hidden in the sum, is missing once", cumulative, [][]point{
			{{100, 1, 10, "a", false}, {200, 1, 10, "b", false}},
			{{5, 15, 20, "a", false}, {400, 1, 20, "b", false}},
			{{15, 15, 30, "a", false}, {410, 1, 30, "b", false}},
		}, []float64{nan, 2}},
		{"reset by a smaller value is missing once", cumulative, [][]point{
			{{100, 0, 10, "", false}}, {{30, 0, 20, "", false}}, {{50, 0, 30, "", false}},
		}, []float64{nan, 2}},
		{"reset at the moment of the point is missing once", cumulative, [][]point{
			{{100, 1, 10, "", false}}, {{90, 20, 20, "", false}}, {{100, 20, 30, "", false}},
		}, []float64{nan, 1}},
		{"a new series is no burst", cumulative, [][]point{
			{{100, 1, 10, "a", false}}, {{110, 1, 20, "a", false}, {9e6, 1, 20, "b", false}}, {{120, 1, 30, "a", false}, {9e6, 1, 30, "b", false}},
		}, []float64{nan, 1}},
		{"a series that goes is missing once", cumulative, [][]point{
			{{100, 1, 10, "a", false}, {9, 1, 10, "b", false}}, {{110, 1, 20, "a", false}}, {{120, 1, 30, "a", false}},
		}, []float64{nan, 1}},
		{"start timestamps that always change say nothing", cumulative, [][]point{
			{{100, 9, 10, "", false}}, {{110, 19, 20, "", false}}, {{120, 29, 30, "", false}}, {{130, 39, 40, "", false}}, {{140, 49, 50, "", false}}, {{15, 59, 60, "", false}},
		}, []float64{nan, nan, 1, 1, nan}},
		{"no recorded value is missing, not zero", cumulative, [][]point{
			{{100, 1, 10, "", false}}, {{0, 1, 20, "", true}}, {{120, 1, 30, "", false}}, {{130, 1, 40, "", false}},
		}, []float64{1, 1}}, // nothing was measured in between, so the time between measurements is 20 s
		{"no data points", cumulative, [][]point{{{100, 1, 10, "", false}}, {}, {{120, 1, 30, "", false}}}, []float64{1}},
		{"NaN and infinities are missing", cumulative, [][]point{
			{{100, 1, 10, "", false}}, {{math.Inf(1), 1, 20, "", false}}, {{120, 1, 30, "", false}}, {{130, 1, 40, "", false}},
		}, []float64{nan, nan, 1}},
		{"out of order is dropped", cumulative, [][]point{
			{{100, 1, 10, "", false}}, {{120, 1, 30, "", false}}, {{110, 1, 20, "", false}}, {{130, 1, 40, "", false}},
		}, []float64{1, 1}},
		{"repeated is ignored", cumulative, [][]point{
			{{100, 1, 10, "", false}}, {{110, 1, 20, "", false}}, {{110, 1, 20, "", false}}, {{120, 1, 30, "", false}},
		}, []float64{1, 1}},
		{"without a timestamp there is no rate", cumulative, [][]point{{{100, 1, 10, "", false}}, {{110, 1, 0, "", false}}, {{120, 1, 30, "", false}}}, []float64{1}},

		{"differences", delta, [][]point{{{7, 0, 10, "", false}}, {{50, 10, 20, "", false}}, {{10, 20, 30, "", false}}}, []float64{5, 1}},
		{"differences of several series", delta, [][]point{
			{{7, 0, 10, "a", false}, {9, 0, 10, "b", false}}, {{50, 10, 20, "a", false}, {10, 10, 20, "b", false}}, {{10, 20, 30, "b", false}},
		}, []float64{6, 1}},
		{"a gap between differences is missing once", delta, [][]point{
			{{7, 1, 10, "", false}}, {{50, 30, 40, "", false}}, {{10, 40, 50, "", false}},
		}, []float64{nan, 1}},
		{"differences without a start timestamp", delta, [][]point{{{7, 0, 10, "", false}}, {{50, 0, 20, "", false}}}, []float64{5}},
		{"a total that overflows begins anew", delta, [][]point{
			{{1.5e308, 0, 10, "", false}}, {{1.5e308, 10, 20, "", false}}, {{10, 20, 30, "", false}},
		}, []float64{0, 0}},
		{"an infinite difference poisons nothing", delta, [][]point{
			{{7, 0, 10, "", false}}, {{math.Inf(1), 10, 20, "", false}}, {{10, 20, 30, "", false}}, {{10, 30, 40, "", false}},
		}, []float64{nan, nan, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := follow(t, Config{Metric: "requests", Kind: KindCounter})
			for _, points := range tt.points {
				md := pmetric.NewMetrics()
				fill(md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty(), "requests", tt.kind, points...)
				f.reader.ReadAll(md)
			}
			require.Len(t, f.rates, len(tt.rates))
			for i, want := range tt.rates {
				if math.IsNaN(want) {
					assert.True(t, math.IsNaN(f.rates[i]), "rate %d is %v", i, f.rates[i])
				} else {
					assert.InDelta(t, want, f.rates[i], 1e-6, "rate %d", i)
				}
			}
		})
	}
}

// The vectoriser understands an interruption, however small the step back.
func TestAnInterruptionIsMissingForTheVectoriser(t *testing.T) {
	c := cell{begun: true, total: 1e9, counted: 1e9, sum: 5}
	v := detect.NewVectoriser([]detect.Dimension{{Kind: detect.Rate}}, 1e9)
	v.Push(0, 0, 1e9, []float64{1e9})
	v.Push(1e9, 1e9, 1e9, []float64{c.count(1)})
	assert.True(t, math.IsNaN(v.X[0]))
	c.sum = 25
	v.Push(2e9, 2e9, 1e9, []float64{c.count(2)})
	assert.InDelta(t, 20, v.Value[0], 1e-6)
}

func TestLateIsCountedAndAClockThatWasSetBackIsBelieved(t *testing.T) {
	f := follow(t, Config{Metric: "requests", Kind: KindCounter})
	read := func(value float64, at int64) int {
		md := pmetric.NewMetrics()
		fill(md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty(), "requests", cumulative, point{value, 1, at, "", false})
		return f.reader.ReadAll(md)
	}
	assert.Zero(t, read(100, 1000))
	assert.Equal(t, 1, read(110, 10))
	assert.Equal(t, 1, read(120, 20))
	assert.Zero(t, read(130, 30))
	assert.Equal(t, int64(30e9), f.at)
	assert.Zero(t, read(140, 40))
	assert.InDelta(t, 1, f.rates[len(f.rates)-1], 1e-9)
}

func TestSeveralScrapesInOneBatchAreReadOneAfterTheOther(t *testing.T) {
	f := follow(t, Config{Metric: "requests", Kind: KindCounter})
	md := pmetric.NewMetrics()
	for k := range int64(4) {
		metrics := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics()
		fill(metrics.AppendEmpty(), "requests", cumulative, point{float64(10 * k), 1, 10 + k, "", false})
	}
	f.reader.ReadAll(md)
	assert.Equal(t, []float64{10, 10, 10}, f.rates)
}

func TestOnlyMatchingPointsOfSumsAndGaugesCount(t *testing.T) {
	f := follow(t, Config{Metric: "queue", Kind: KindGauge, Attributes: map[string]string{"route": "/pay"}})
	md := pmetric.NewMetrics()
	metrics := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics()
	fill(metrics.AppendEmpty(), "queue", gauge, point{3, 0, 10, "/pay", false}, point{4, 0, 10, "/pay", false}, point{50, 0, 10, "/refund", false}, point{50, 0, 10, "", false})
	histogram := metrics.AppendEmpty()
	histogram.SetName("queue")
	histogram.SetEmptyHistogram().DataPoints().AppendEmpty().SetCount(3)
	metrics.AppendEmpty().SetName("queue")
	f.reader.ReadAll(md)
	assert.Equal(t, 7.0, f.last)
}

func TestAnEmptyHistogramOpensNoVector(t *testing.T) {
	f := follow(t, Config{Metric: "queue", Kind: KindGauge})
	md := pmetric.NewMetrics()
	m := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	m.SetName("queue")
	m.SetEmptyHistogram().DataPoints().AppendEmpty().SetTimestamp(5)
	f.reader.ReadAll(md)
	assert.Zero(t, f.at)
}

func TestMoversAreNotAdmittedAndCgroupsAreNoNodes(t *testing.T) {
	resource := func(cgroup bool, sweep string) pmetric.ResourceMetrics {
		rm := pmetric.NewResourceMetrics()
		if cgroup {
			rm.Resource().Attributes().PutInt(AttributeCgroup, 7)
		}
		if scope := rm.ScopeMetrics().AppendEmpty().Scope(); sweep != "" {
			scope.Attributes().PutStr(AttributeSweep, sweep)
		}
		return rm
	}
	for preset, takes := range map[string]bool{Node: false, HostMetrics: false, Cgroup: true, Custom: true} {
		v, err := New(preset, nil)
		require.NoError(t, err)
		assert.True(t, v.Admits(resource(false, "")), preset)
		assert.Equal(t, takes, v.Admits(resource(true, SweepFull)), preset)
		assert.Equal(t, takes, v.Admits(resource(true, "")), preset)
		assert.False(t, v.Admits(resource(true, SweepMovers)), preset)
	}
}

func TestPresetsHaveDistinctNames(t *testing.T) {
	for preset, n := range map[string]int{Node: 16, Cgroup: 6, HostMetrics: 12} {
		v, err := New(preset, []Config{{Metric: "more", Kind: KindGauge}})
		require.NoError(t, err)
		assert.Len(t, v.Dimensions(), n+1)
		seen := map[string]bool{}
		for i, d := range v.Dimensions() {
			assert.False(t, seen[d.Name], d.Name)
			seen[d.Name] = true
			assert.Equal(t, d, v.Sources()[i].Dimension)
			assert.True(t, v.Reads(v.Sources()[i].Metric))
		}
	}
	_, err := New("everything", nil)
	require.ErrorContains(t, err, "preset: ")
	_, err = New(HostMetrics, []Config{{Metric: "system.disk.io", Kind: KindCounter}})
	require.ErrorContains(t, err, "dimensions::0: counter of system.disk.io is there already")
}

func TestADimensionWithoutAScaleIsFree(t *testing.T) {
	c := Config{Metric: "queue", Kind: KindGrowth, Attributes: map[string]string{"b": "2", "a": "1"}, Load: -1}
	want := detect.Free("queue.1.2.growth")
	want.Kind, want.Load = detect.Growth, -1
	assert.Equal(t, want, c.Dimension().Dimension)
	c = Config{Metric: "queue", Kind: KindCounter, Scale: 3, Floor: 0.5}
	d := c.Dimension().Dimension
	assert.Equal(t, detect.Log1p, d.Transform)
	assert.Equal(t, 3.0, d.Scale)
	assert.Equal(t, 0.5, d.Floor)
}

func TestReadingAllocatesNothing(t *testing.T) {
	v, err := New(Cgroup, nil)
	require.NoError(t, err)
	s := v.NewStream()
	r := NewReader(v, func(Key, pcommon.Resource) *Stream { return s }, func(Vector) {})
	md := pmetric.NewMetrics()
	metrics := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics()
	fill(metrics.AppendEmpty(), "cgroup.memory.usage", gauge, point{1, 0, 1, "", false})
	at := pcommon.Timestamp(1)
	assert.LessOrEqual(t, testing.AllocsPerRun(100, func() {
		at++
		metrics.At(0).Gauge().DataPoints().At(0).SetTimestamp(at)
		r.ReadAll(md)
	}), 1.0)
}

func FuzzReader(f *testing.F) {
	md := pmetric.NewMetrics()
	metrics := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics()
	fill(metrics.AppendEmpty(), "requests", cumulative, point{3, 1, 10, "a", false}, point{math.Inf(-1), 2, 11, "", true})
	fill(metrics.AppendEmpty(), "requests", delta, point{3, 1, 12, "a", false})
	fill(metrics.AppendEmpty(), "queue", gauge, point{-3, 0, 12, "", false})
	seed, err := new(pmetric.ProtoMarshaler).MarshalMetrics(md)
	require.NoError(f, err)
	f.Add(seed)
	v, err := New(Custom, []Config{{Metric: "requests", Kind: KindCounter}, {Metric: "queue", Kind: KindGrowth, Attributes: map[string]string{"route": "a"}}})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, data []byte) {
		md, err := new(pmetric.ProtoUnmarshaler).UnmarshalMetrics(data)
		if err != nil {
			return
		}
		s := v.NewStream()
		r := NewReader(v, func(Key, pcommon.Resource) *Stream { return s }, func(x Vector) {
			for _, raw := range x.Raw {
				if math.IsInf(raw, 0) {
					t.Fatal("infinite")
				}
			}
		})
		for range 2 {
			r.ReadAll(md)
		}
	})
}
