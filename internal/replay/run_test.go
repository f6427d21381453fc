// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
)

// replay runs text through the engine.
func replay(t *testing.T, text string, o Options, w io.Writer) (*Summary, error) {
	t.Helper()
	in, err := NewInput(t.Context(), "x.csv", strings.NewReader(text))
	require.NoError(t, err)
	defer in.Close()
	r, err := New(o)
	if err != nil {
		return nil, err
	}
	return r.Run(in, w)
}

// judged runs text through the engine and returns the rows by column.
func judged(t *testing.T, text string, o Options) (map[string][]string, *Summary) {
	t.Helper()
	var out bytes.Buffer
	summary, err := replay(t, text, o, &out)
	require.NoError(t, err)
	rows, err := csv.NewReader(&out).ReadAll()
	require.NoError(t, err)
	columns := map[string][]string{}
	for i, name := range rows[0] {
		columns[name] = []string{}
		for _, row := range rows[1:] {
			columns[name] = append(columns[name], row[i])
		}
	}
	return columns, summary
}

// recorded is a recording of two calm columns, the second of which jumps at
// row jump and stays there.
func recorded(rows, jump int) string {
	random := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	b.WriteString("time,cpu,memory,label\n")
	for i := range rows {
		memory, label := 50+random.NormFloat64(), 0
		if i >= jump {
			memory, label = memory+900, 1
		}
		fmt.Fprintf(&b, "%d,%.4f,%.4f,%d\n", 1700000000+i, 10+random.NormFloat64(), memory, label)
	}
	return b.String()
}

func TestReplayIsTheEngine(t *testing.T) {
	text := recorded(400, 300)
	columns, summary := judged(t, text, Options{Warmup: Span{Samples: 100}})
	_, rows, err := readTable(text)
	require.NoError(t, err)
	require.Len(t, columns["score"], len(rows))

	engine := detect.New(detect.Config{Dimensions: []detect.Dimension{detect.Free("cpu"), detect.Free("memory")}, Warmup: 100 * time.Second})
	var j arc.Judgement
	for i, row := range rows {
		seconds, _ := strconv.ParseInt(row[0], 10, 64)
		cpu, _ := strconv.ParseFloat(row[1], 64)
		memory, _ := strconv.ParseFloat(row[2], 64)
		due := int64(i)*1e9 + begin
		engine.Step(detect.Instant{Due: due, Taken: due, Interval: 1e9, Wall: seconds * 1e9}, []float64{cpu, memory}, arc.Control{}, &j)
		for name, want := range map[string]float64{
			"d2": j.Distance * j.Distance, "score": j.Score, "limit": j.Limit,
			"velocity": j.Velocity, "acceleration": j.Acceleration, "regime": float64(j.Regime),
		} {
			got, err := strconv.ParseFloat(columns[name][i], 64)
			require.NoError(t, err)
			require.InEpsilon(t, want+1e-300, got+1e-300, 1e-7, "%s of row %d", name, i)
		}
		require.Equal(t, j.Anomalous, columns["anomalous"][i] == "1", "row %d", i)
		parts := strings.Split(columns["contributions"][i], ";")
		if j.NumContributions == 0 {
			require.Equal(t, []string{""}, parts)
			continue
		}
		require.Len(t, parts, j.NumContributions)
		name, share, _ := strings.Cut(parts[0], "=")
		require.Equal(t, j.Contributions[0].Dimension, name)
		got, err := strconv.ParseFloat(share, 64)
		require.NoError(t, err)
		require.InDelta(t, j.Contributions[0].Share, got, 1e-3*math.Abs(j.Contributions[0].Share))
	}
	assert.Equal(t, column(rows, 0), columns["time"])
	assert.Equal(t, column(rows, 3), columns["label"])

	s := summary.Streams[0]
	assert.Equal(t, 400, summary.Rows)
	assert.Equal(t, time.Second, summary.Interval)
	assert.Equal(t, 399*time.Second, s.Span)
	require.NotZero(t, s.Ready)
	require.NotZero(t, s.NumEpisodes, "a jump by 900 deviations is an episode")
	assert.Equal(t, 300*time.Second, s.Episodes[0].Start)
	assert.Equal(t, "1700000300", s.Episodes[0].Time)
	assert.Greater(t, s.Episodes[0].Excess(), 1.0)
	assert.Equal(t, "memory", s.Episodes[0].Peak.Contributions[0].Dimension)
}

func TestOptionsReachTheEngine(t *testing.T) {
	dims := []detect.Dimension{detect.Free("x")}
	o := Options{Warmup: Span{Samples: 10}, HalfLife: time.Hour, SlowHalfLife: 24 * time.Hour, FalseAlarmInterval: 48 * time.Hour, Trend: TrendEWMA}
	require.NoError(t, o.validate())
	assert.Equal(t, detect.Config{
		Dimensions: dims, Warmup: 10 * time.Minute, HalfLife: time.Hour, SlowHalfLife: 24 * time.Hour,
		FalseAlarmInterval: 48 * time.Hour, Trend: detect.EWMA,
	}, o.detection(dims, time.Minute))
	o.Trend = TrendKalman
	assert.Equal(t, detect.Kalman, o.detection(dims, time.Minute).Trend)
	text := recorded(400, 300)
	kalman, _ := judged(t, text, Options{})
	ewma, summary := judged(t, text, Options{Trend: TrendEWMA})
	assert.Equal(t, kalman["score"], ewma["score"])
	assert.NotEqual(t, kalman["velocity"], ewma["velocity"])
	assert.NotEmpty(t, summary.Streams[0].Chart)
	assert.True(t, summary.Streams[0].Audited)
	assert.Less(t, summary.Streams[0].Disagreement, 1.0)
	_, summary = judged(t, recorded(100, 100), Options{})
	assert.False(t, summary.Streams[0].Audited, "too little")
}

func column(rows [][]string, i int) []string {
	var cells []string
	for _, row := range rows {
		cells = append(cells, row[i])
	}
	return cells
}

func TestARowForEveryRow(t *testing.T) {
	text := "time,a,b\n1,1,1\n1,2,2\n2,1,\n2.5,NaN,1\n100,1,1\n,1,1\n101,2,2\n5,1,1\n6,1,2\n"
	columns, summary := judged(t, text, Options{})
	assert.Equal(t, []string{"1", "1", "2", "2.5", "100", "", "101", "5", "6"}, columns["time"])
	assert.NotContains(t, columns["anomalous"], "1")
	assert.Equal(t, 9, summary.Rows)
	assert.Equal(t, 2, summary.Missing)
	assert.Equal(t, 1, summary.OddTimes)
	assert.Equal(t, 1, summary.Backwards)
	assert.NotContains(t, columns, "label")
	one, _ := judged(t, "a\n1", Options{})
	assert.Equal(t, []string{"0"}, one["score"])
}

func TestReplayIsDeterministic(t *testing.T) {
	text := recorded(300, 200)
	var first, second bytes.Buffer
	_, err := replay(t, text, Options{}, &first)
	require.NoError(t, err)
	_, err = replay(t, text, Options{}, &second)
	require.NoError(t, err)
	assert.Equal(t, first.String(), second.String())
	var third bytes.Buffer
	_, err = replay(t, compressed(text), Options{}, &third)
	require.NoError(t, err)
	assert.Equal(t, first.String(), third.String(), "compressed")
}

func TestTheIntervalAndTheWarmup(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		o    Options
		want time.Duration
		span time.Duration
	}{
		"median step":       {"t,a\n0,1\n60,1\n120,1\n181,1\n500,1\n", Options{}, time.Minute, 500 * time.Second},
		"no time column":    {"a,b\n0,1\n1,2\n2,1\n", Options{}, time.Second, 2 * time.Second},
		"said":              {"a,b\n0,1\n1,2\n2,1\n", Options{Interval: time.Minute}, time.Minute, 2 * time.Minute},
		"times overridden":  {"t,a\n0,1\n1,2\n2,1\n", Options{Interval: time.Minute, Time: "none"}, time.Minute, 2 * time.Minute},
		"milliseconds":      {"ts,a\n1700000000000,1\n1700000000100,1\n1700000000200,2\n", Options{}, 100 * time.Millisecond, 200 * time.Millisecond},
		"a column by name":  {"at,a\n2022-08-22T03:51:19Z,1\n2022-08-22T03:51:29Z,2\n", Options{Time: "at"}, 10 * time.Second, 10 * time.Second},
		"all times are one": {"t,a\n5,1\n5,2\n", Options{}, time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			_, summary := judged(t, tc.text, tc.o)
			assert.Equal(t, tc.want, summary.Interval)
			assert.Equal(t, tc.span, summary.Streams[0].Span)
		})
	}
	columns, _ := judged(t, "a,b\n0,1\n1,2\n2,1\n", Options{Interval: 500 * time.Millisecond})
	assert.Equal(t, []string{"0", "0.5", "1"}, columns["time"])
	for _, tc := range []struct {
		text string
		want Span
		err  string
	}{
		{"600", Span{Samples: 600}, ""},
		{"10m", Span{Duration: 10 * time.Minute}, ""},
		{"soon", Span{}, "neither a duration"},
		{"-1", Span{}, "negative"},
		{"-1s", Span{}, "negative"},
	} {
		got, err := ParseSpan(tc.text)
		assert.Equal(t, tc.want, got)
		if tc.err != "" {
			assert.ErrorContains(t, err, tc.err)
		}
	}
	assert.Equal(t, 10*time.Minute, Span{Samples: 10}.of(time.Minute))
}

func TestDimensionsOfATable(t *testing.T) {
	text := "t,cpu,net.rx,net.tx,host,split,label,label_kind,late,\n" + strings.Repeat("1,2,3,4,web-1,train,0,1,,7\n", 150)
	for name, tc := range map[string]struct {
		list, want string
		skipped    string
	}{
		"default":     {"", "cpu:level net.rx:level net.tx:level", "host (text), split (text), label_kind (a label), late (empty in the first 100 rows), column 10 (it has no name)"},
		"globs":       {"net.*:counter,cpu:growth", "cpu:growth net.rx:rate net.tx:rate", ""},
		"labels":      {"label_kind,cpu", "cpu:level label_kind:level", ""},
		"empty ones":  {"late,cpu", "cpu:level late:level", ""},
		"excluded":    {"!net.*,!host,!split,!label_kind,!late", "cpu:level", "column 10 (it has no name)"},
		"nearly text": {"*,!net.*,!late", "cpu:level", "host (text), split (text), label_kind (a label), column 10 (it has no name)"},
	} {
		t.Run(name, func(t *testing.T) {
			_, summary := judged(t, text, Options{Dimensions: tc.list})
			var got, skipped []string
			for _, d := range summary.Streams[0].Dimensions {
				assert.Equal(t, detect.Free("").Transform, d.Transform)
				got = append(got, d.Name+":"+d.Kind.String())
			}
			for _, s := range summary.Skipped {
				skipped = append(skipped, s.Name+" ("+s.Why+")")
			}
			assert.Equal(t, tc.want, strings.Join(got, " "))
			assert.Equal(t, tc.skipped, strings.Join(skipped, ", "))
		})
	}
}

func TestErrorsNameLineAndColumn(t *testing.T) {
	some := func(bad int) string {
		var b strings.Builder
		b.WriteString("t,cpu,memory\n")
		for i := range 400 {
			cell := "1"
			if i >= 150 && i < 150+bad {
				cell = "oops"
			}
			fmt.Fprintf(&b, "%d,%d,%s\n", i, i%7, cell)
		}
		return b.String()
	}
	_, summary := judged(t, some(10), Options{})
	assert.Equal(t, 10, summary.Odd)
	assert.Equal(t, 10, summary.Missing)
	for name, tc := range map[string]struct {
		text, want string
		o          Options
	}{
		"not numbers":       {some(30), `x.csv: line 152, column "memory": "oops" is no number, nor are 30 of 400`, Options{}},
		"only text":         {"a,b\nx,y\n", "x.csv: line 2: no column is a dimension", Options{}},
		"unknown dimension": {"a,b\n1,2\n", `dimensions: "c" is no column; the columns are a, b`, Options{Dimensions: "a,c"}},
		"unknown glob":      {"a,b\n1,2\n", `dimensions: "c*" is no column`, Options{Dimensions: "!c*"}},
		"text dimension":    {"a,b\n1,x\n", `x.csv: line 2, column "b": "x" is no number`, Options{Dimensions: "b"}},
		"the time":          {"t,b\n1,1\n", `column "t" is the time`, Options{Dimensions: "t,b"}},
		"no such time":      {"a,b\n1,2\n", `has no column "when" for the time`, Options{Time: "when"}},
		"no such label":     {"a,b\n1,2\n", `has no column "what" for the label`, Options{Label: "what"}},
		"no time":           {"time,b\n1,1\nnoon,1\n", `x.csv: line 3, column "time": "noon" is no time`, Options{}},
		"no rows":           {"a,b\n", "x.csv: has a header and no rows", Options{}},
		"empty":             {"", "x.csv: is empty", Options{}},
		"ragged":            {"a,b\n1,2\n1,2,3\n", "x.csv: line 3: has 3 cells", Options{}},
		"rubbish":           {"\x00\x01\x02", "x.csv: is not text", Options{}},
		"an empty entry":    {"a\n1\n", "an entry is empty", Options{Dimensions: "a,,"}},
		"period":            {"a\n1\n", "period: must be positive", Options{Period: -1}},
		"interval":          {"a\n1\n", "interval: must be positive", Options{Interval: -1}},
		"half-life":         {"a\n1\n", "half-life: must be positive", Options{HalfLife: -1}},
		"false alarms":      {"a\n1\n", "false-alarm-interval: must be positive", Options{FalseAlarmInterval: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := replay(t, tc.text, tc.o, io.Discard)
			assert.ErrorContains(t, err, tc.want)
		})
	}
	var late strings.Builder
	late.WriteString("time,a\n")
	for i := range 300 {
		at := strconv.Itoa(i)
		if i > 200 {
			at = "later"
		}
		fmt.Fprintf(&late, "%s,%d\n", at, i)
	}
	_, err := replay(t, late.String(), Options{}, io.Discard)
	assert.ErrorContains(t, err, `line 203, column "time": "later" is no time`)
}

func TestNamesAndLabelsAreQuoted(t *testing.T) {
	text := "time,\"a,b\",\"x;y=\"\"z\"\"\",label\n" + strings.Repeat("\"1\",1,2,\"so, \"\"it\"\" is\"\n2,2,1,\n3,3,1,fault\n", 80)
	columns, _ := judged(t, text, Options{Time: "none"})
	assert.Equal(t, `so, "it" is`, columns["label"][0])
	assert.Empty(t, columns["label"][1])
	assert.Equal(t, "fault", columns["label"][2])
	all := strings.Join(columns["contributions"], "|")
	assert.Contains(t, all, "a%2Cb=")
	assert.Contains(t, all, "x%3By%3D%22z%22=")
}

func TestInterruptedReplaySaysHowFarItCame(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	defer w.Close()
	in, err := NewInput(ctx, "x.csv", r)
	require.NoError(t, err)
	go func() {
		_, _ = io.WriteString(w, recorded(300, 300))
		cancel()
	}()
	run, err := New(Options{})
	require.NoError(t, err)
	_, err = run.Run(in, io.Discard)
	require.ErrorIs(t, err, context.Canceled)
	assert.ErrorContains(t, err, "x.csv: interrupted after")
}

func TestEpisodesEndInCalm(t *testing.T) {
	e := newEpisodes(time.Second)
	for i := range 200 {
		second := time.Duration(i) * time.Second
		anomalous := i >= 10 && i < 20 || i == 45 || i == 100
		e.observe(second, []byte(second.String()), &arc.Judgement{Anomalous: anomalous, Score: float64(i), Limit: 5})
	}
	require.Len(t, e.kept, 2)
	assert.Equal(t, Episode{Time: "10s", Start: 10 * time.Second, Duration: 35 * time.Second, Anomalous: 11, Peak: arc.Judgement{Anomalous: true, Score: 45, Limit: 5}, PeakAt: 45 * time.Second}, e.kept[0])
	assert.Equal(t, 9.0, e.kept[0].Excess())
	assert.Equal(t, 100*time.Second, e.kept[1].Start)
	minutely := newEpisodes(time.Minute)
	assert.Equal(t, 5*time.Minute, minutely.quiet)
}

func TestColumnsOfATable(t *testing.T) {
	path := t.TempDir() + "/x.csv.gz"
	out, err := Create(path, nil)
	require.NoError(t, err)
	_, _ = out.WriteString("t,split,a,b,label\n0,train,1,,0\n1,test,2,4,1\n2,test,x,5,0\n3,test,3,6,normal\n")
	require.NoError(t, out.Commit())
	c, err := ReadColumns(t.Context(), path, Options{})
	require.NoError(t, err)
	assert.Equal(t, 4, c.Rows())
	assert.Equal(t, []string{"a", "b"}, c.Names)
	assert.Equal(t, []float64{4, 5, 6}, c.Values[1][1:])
	assert.True(t, math.IsNaN(c.Values[1][0]) && math.IsNaN(c.Values[0][2]))
	assert.Equal(t, []string{"train", "test", "test", "test"}, c.Text["split"])
	assert.Equal(t, []string{"0", "1", "0", "normal"}, c.Label)
	assert.True(t, c.Marked(1))
	assert.False(t, c.Marked(0) || c.Marked(3))
	assert.Equal(t, time.Second, c.Interval)
	assert.Equal(t, int64(3e9), c.At[3].Due-c.At[0].Due)
	raw := make([]float64, 2)
	c.Row(3, raw)
	assert.Equal(t, []float64{3, 6}, raw)
	_, err = ReadColumns(t.Context(), path, Options{Dimensions: "nope"})
	assert.ErrorContains(t, err, "nope")
}
