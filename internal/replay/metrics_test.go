// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
)

const zero = 1700000000 // of metrics, s since the epoch

// scrape is a batch of a gauge, a counter, one in two data points, and a
// histogram of each host.
func scrape(second int, hosts map[string][2]float64) string {
	md := pmetric.NewMetrics()
	for _, host := range []string{"a", "b"} {
		values, ok := hosts[host]
		if !ok {
			continue
		}
		rm := md.ResourceMetrics().AppendEmpty()
		rm.Resource().Attributes().PutStr("host.name", host)
		rm.Resource().Attributes().PutInt("cell", 7)
		metrics := rm.ScopeMetrics().AppendEmpty().Metrics()
		at := pcommon.Timestamp((zero + int64(second)) * 1e9)
		gauge := metrics.AppendEmpty()
		gauge.SetName("memory")
		p := gauge.SetEmptyGauge().DataPoints().AppendEmpty()
		p.SetTimestamp(at)
		p.SetDoubleValue(values[0])
		counter := metrics.AppendEmpty()
		counter.SetName("requests")
		sum := counter.SetEmptySum()
		sum.SetIsMonotonic(true)
		sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		for _, route := range []string{"/", "/x"} {
			p := sum.DataPoints().AppendEmpty()
			p.SetStartTimestamp(pcommon.Timestamp(zero * 1e9))
			p.SetTimestamp(at)
			p.SetDoubleValue(values[1] / 2)
			p.Attributes().PutStr("route", route)
		}
		histogram := metrics.AppendEmpty()
		histogram.SetName("latency")
		histogram.SetEmptyHistogram().DataPoints().AppendEmpty().SetTimestamp(at)
	}
	line, err := (&pmetric.JSONMarshaler{}).MarshalMetrics(md)
	if err != nil {
		panic(err)
	}
	return string(line) + "\n"
}

func TestMetricsAreReplayedAsTheProcessorJudgesThem(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var text strings.Builder
	var memory, requests []float64
	total := 0.0
	for i := range 300 {
		total += 100 + random.NormFloat64()
		memory, requests = append(memory, 1000+random.NormFloat64()), append(requests, total)
		hosts := map[string][2]float64{"a": {memory[i], requests[i]}}
		if i >= 150 { // another resource, later
			hosts["b"] = [2]float64{1, float64(i)}
		}
		text.WriteString(scrape(10*i, hosts))
	}
	var out bytes.Buffer
	summary, err := replay(t, text.String(), Options{}, &out)
	require.NoError(t, err)
	rows, err := csv.NewReader(&out).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 1+300+150)
	assert.Equal(t, "resource,time,d2,score,limit,anomalous,velocity,acceleration,regime,contributions", strings.Join(rows[0], ","))
	assert.Equal(t, []string{"cell=7 host.name=a", "2023-11-14T22:13:20Z"}, rows[1][:2])
	assert.Equal(t, []string{"cell=7 host.name=b", "2023-11-14T22:38:20Z"}, rows[1+150+1][:2])

	dims := []detect.Dimension{detect.Free("memory"), detect.Free("requests")}
	dims[1].Kind = detect.Rate
	engine := detect.New(detect.Config{Dimensions: dims})
	var j arc.Judgement
	k := 0
	for i, row := range rows[1:] {
		if !strings.HasSuffix(row[0], "a") {
			continue
		}
		due := int64(k)*10e9 + begin
		engine.Step(detect.Instant{Due: due, Taken: due, Interval: 10e9, Wall: (zero + int64(k)*10) * 1e9}, []float64{memory[k], requests[k]}, arc.Control{}, &j)
		k++
		var score, limit float64
		_, err := fmt.Sscan(row[3], &score)
		require.NoError(t, err)
		_, err = fmt.Sscan(row[4], &limit)
		require.NoError(t, err)
		require.InDelta(t, j.Score, score, 1e-3*math.Abs(j.Score), "row %d", i)
		require.InDelta(t, j.Limit, limit, 1e-3*math.Abs(j.Limit), "row %d", i)
	}
	assert.Equal(t, 300, k)

	require.Len(t, summary.Streams, 2)
	assert.Equal(t, 10*time.Second, summary.Interval)
	assert.Equal(t, 300, summary.Streams[0].Rows)
	assert.Equal(t, 150, summary.Streams[1].Rows)
	assert.Equal(t, 2990*time.Second, summary.Streams[0].Span)
	assert.Equal(t, []Skipped{{"latency", "neither a sum nor a gauge"}}, summary.Skipped)

	page := drawn(t, "x.json", text.String(), Options{})
	assert.Contains(t, page, "cell=7 host.name=b")
	assert.Len(t, dataOf(t, page), 2)
}

func TestDimensionsOfMetrics(t *testing.T) {
	var text strings.Builder
	for i := range 20 {
		text.WriteString(scrape(i, map[string][2]float64{"a": {1, float64(i)}}))
	}
	for list, want := range map[string]string{
		"":                         "memory:level requests:rate",
		"*,memory:growth":          "memory.growth:growth requests:rate",
		"!mem*":                    "requests:rate",
		"req*:gauge":               "requests:level",
		"memory,requests:counter":  "memory:level requests:rate",
		"memory:gauge,!re*,memory": "memory:level",
	} {
		summary, err := replay(t, text.String(), Options{Dimensions: list}, io.Discard)
		require.NoError(t, err, list)
		var got []string
		for _, d := range summary.Streams[0].Dimensions {
			got = append(got, d.Name+":"+d.Kind.String())
		}
		assert.Equal(t, want, strings.Join(got, " "), list)
	}
	for list, want := range map[string]string{
		"cpu":          `"cpu" is no sum or gauge in the first 100 lines, and no preset; the metrics are memory, requests`,
		"!*":           "leaves none",
		"host_metrics": "holds no measurement of any dimension",
	} {
		_, err := replay(t, text.String(), Options{Dimensions: list}, io.Discard)
		assert.ErrorContains(t, err, want)
	}
}

func TestAPresetReadsItsMetrics(t *testing.T) {
	text := strings.NewReplacer(`"memory"`, `"system.processes.created"`).Replace(scrape(0, map[string][2]float64{"a": {1, 1}}) + scrape(1, map[string][2]float64{"a": {2, 2}}))
	summary, err := replay(t, text, Options{Dimensions: "host_metrics"}, io.Discard)
	require.NoError(t, err)
	assert.Equal(t, 2, summary.Rows)
	assert.Greater(t, len(summary.Streams[0].Dimensions), 5)
}

func TestDamagedMetrics(t *testing.T) {
	good := scrape(0, map[string][2]float64{"a": {1, 1}}) + scrape(1, map[string][2]float64{"a": {1, 2}})
	summary, err := replay(t, good+"\n"+good[:100], Options{}, io.Discard)
	require.NoError(t, err, "a collector that was killed leaves half a line")
	assert.Equal(t, 2, summary.Rows)
	assert.Contains(t, summary.Skipped, Skipped{"line 4", "the recording ends in the middle of it"})
	for name, tc := range map[string]struct{ text, want string }{
		"damaged":  {good + good[:100] + "\n" + good, "x.csv: line 3: is no OTLP JSON"},
		"one line": {good[:100], "x.csv: line 1: is no OTLP JSON"},
		"logs":     {`{"resourceLogs":[]}` + "\n", "x.csv: holds no sum or gauge in its first 100 lines"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := replay(t, tc.text, Options{}, io.Discard)
			assert.ErrorContains(t, err, tc.want)
		})
	}
}

func FuzzMetrics(f *testing.F) {
	f.Add(scrape(0, map[string][2]float64{"a": {1, 1}, "b": {2, 2}}) + scrape(1, map[string][2]float64{"a": {1, 2}}))
	f.Add(`{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"x","sum":{"dataPoints":[{"asInt":"3","timeUnixNano":"5"}]}}]}]}]}`)
	f.Add(`{"resourceMetrics":[{}]}` + "\n{")
	f.Add("{\x00}\n{}")
	f.Fuzz(func(t *testing.T, text string) {
		var out bytes.Buffer
		s, err := newMetricsSource("x", strings.NewReader(text), &Options{})
		if err != nil {
			return
		}
		var sample Sample
		rows := 0
		for s.next(&sample) == nil {
			if len(sample.Raw) != len(s.stream(sample.Stream).Dimensions) {
				t.Fatal("a vector of another length than its dimensions")
			}
			rows++
		}
		summary, err := replay(t, text, Options{}, &out)
		if err == nil && strings.HasPrefix(strings.TrimSpace(text), "{") && summary.Rows != rows {
			t.Fatalf("%d rows judged of %d", summary.Rows, rows)
		}
	})
}
