// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/bpf"
	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
	"github.com/otelcol-reflex/reflex/internal/reading"
	"github.com/otelcol-reflex/reflex/internal/recording"
	"github.com/otelcol-reflex/reflex/internal/sampler"
	"github.com/otelcol-reflex/reflex/internal/sources"
)

// witness is in the place of the arc: it has every sample judged and recorded.
type witness struct {
	t          require.TestingT
	engine     *detect.Engine
	writer     *recording.Writer
	file       bytes.Buffer
	judgements []arc.Judgement
	ticks      int
}

func newWitness(t require.TestingT, warmup time.Duration) *witness {
	return newWitnessOf(t, warmup, 1e8)
}

// newWitnessOf is newWitness for a source whose own interval is own ns.
func newWitnessOf(t require.TestingT, warmup time.Duration, own int64) *witness {
	w := &witness{t: t, engine: detect.NewEngine(detect.Config{Warmup: warmup})}
	var err error
	w.writer, err = recording.NewWriter(&w.file, recording.Description{Source: "ebpf", Interval: own})
	require.NoError(t, err)
	return w
}

func (w *witness) Observe(s *arc.Sample, j *arc.Judgement) {
	w.engine.Judge(s, arc.Control{}, j)
	w.judgements = append(w.judgements, *j)
	assert.NoError(w.t, w.writer.Write(s, func(id uint64) string { return fmt.Sprintf("/%d", id) }))
}

func (w *witness) Control() arc.Control      { return arc.Control{} }
func (w *witness) Record(tick *sampler.Tick) { w.ticks++ }

// agrees replays the recording and compares it with what was judged.
func (w *witness) agrees(t *testing.T, warmup time.Duration) map[string][]string {
	t.Helper()
	require.NoError(t, w.writer.Close())
	columns, summary := judged(t, w.file.String(), Options{Warmup: Span{Duration: warmup}})
	require.Equal(t, len(w.judgements), summary.Rows)
	var row []byte
	for i := range w.judgements {
		j := &w.judgements[i]
		for _, c := range []struct {
			name  string
			value float64
		}{
			{"d2", j.Distance * j.Distance},
			{"score", j.Score},
			{"limit", j.Limit},
			{"velocity", j.Velocity},
			{"acceleration", j.Acceleration},
			{"regime", float64(j.Regime)},
		} {
			row = strconv.AppendFloat(row[:0], c.value, 'g', digits, 64)
			require.Equal(t, string(row), columns[c.name][i], "%s of tick %d", c.name, i)
		}
		require.Equal(t, j.Anomalous, columns["anomalous"][i] == "1", "tick %d", i)
		contributions := []string{}
		for k := range j.NumContributions {
			c := &j.Contributions[k]
			contributions = append(contributions, c.Dimension+"="+strconv.FormatFloat(c.Share, 'g', shareDigits, 64))
		}
		require.Equal(t, strings.Join(contributions, ";"), columns["contributions"][i], "tick %d", i)
	}
	return columns
}

// invented makes samples of a machine that forks a lot from tick jump on.
func invented(n, jump int, each func(*arc.Sample)) {
	random := rand.New(rand.NewPCG(1, 2))
	s := &arc.Sample{Source: "ebpf", Scheduled: 7e12, WallTime: 1.8e18, Interval: 1e8}
	for i := range n {
		s.Sequence++
		s.Missed = 0
		if i%40 == 30 {
			s.Missed = 1
		}
		step := s.Interval * (1 + int64(s.Missed))
		s.Scheduled, s.WallTime = s.Scheduled+step, s.WallTime+step
		s.Taken = s.Scheduled + random.Int64N(100_000)
		for f := range s.Node {
			if math.IsNaN(s.Node[f]) {
				s.Node[f] = 0
			}
			s.Node[f] += math.Round(1e9*random.Float64()) / 1e9
		}
		if random.IntN(30) == 0 {
			s.Node[random.IntN(len(s.Node))] = math.NaN()
		}
		s.Cgroups.Reset()
		for id := range uint64(3) {
			row := s.Cgroups.Append(id+10, 0)
			s.Cgroups.Set(arc.CgroupCPUTime, row, uint64(i)*1e6+uint64(random.IntN(1e5)))
			s.Cgroups.Set(arc.CgroupMemoryUsage, row, 1<<30+uint64(random.IntN(1e6)))
			s.Cgroups.Set(arc.CgroupMemoryMax, row, arc.Unlimited)
		}
		if i >= jump {
			s.Node[arc.NodeForks] += 5000
			s.Cgroups.Set(arc.CgroupMemoryUsage, 1, uint64(i)<<30)
		}
		each(s)
	}
}

func TestARecordingOfTicksIsJudgedAsTheArcDoes(t *testing.T) {
	const warmup = 10 * time.Second
	w := newWitness(t, warmup)
	invented(1500, 1400, func(s *arc.Sample) { w.Observe(s, &arc.Judgement{}) })
	columns := w.agrees(t, warmup)
	assert.Contains(t, columns["anomalous"], "1")
	assert.Equal(t, "2027-01-15T08:00:00.1Z", columns["time"][0])
}

// A slow receiver that something hurried: what is usual is known of its own
// interval only.
func TestHurriedTicksAreJudgedOverTheSourcesOwnInterval(t *testing.T) {
	const warmup, own = 40 * time.Second, int64(1e9)
	w := newWitnessOf(t, warmup, own)
	var ticks int
	invented(6000, 5800, func(s *arc.Sample) {
		if hurried := ticks%3000 > 2000; hurried || ticks%10 == 0 {
			s.Missed, s.Period = 0, own
			if s.Interval = own; hurried {
				s.Interval = 1e8
			}
			w.Observe(s, &arc.Judgement{})
		}
		s.Interval = 1e8
		ticks++
	})
	w.agrees(t, warmup)
	columns, summary := judged(t, w.file.String(), Options{Warmup: Span{Duration: warmup}})
	assert.Equal(t, time.Second, summary.Streams[0].Period)
	assert.Contains(t, columns["anomalous"], "1")
	decisions := func(d2 []string) int {
		n := 0
		for i := range d2 {
			if i > 0 && d2[i] != d2[i-1] {
				n++
			}
		}
		return n
	}
	assert.Less(t, decisions(columns["d2"]), 620, "a decision a second: %d rows", summary.Rows)

	columns, _ = judged(t, w.file.String(), Options{Warmup: Span{Duration: warmup}, Period: 100 * time.Millisecond})
	assert.Greater(t, decisions(columns["d2"]), 1500, "as fast as they come, if asked for")
	_, summary = judged(t, w.file.String(), Options{Warmup: Span{Duration: warmup}, Period: 2 * time.Second})
	assert.Equal(t, 2*time.Second, summary.Streams[0].Period, "unless another is asked for")
	_, summary = judged(t, w.file.String(), Options{Warmup: Span{Duration: warmup}, Interval: 5 * time.Second})
	assert.Equal(t, 5*time.Second, summary.Streams[0].Period)
}

func TestATableIsJudgedOverTheArcsPeriod(t *testing.T) {
	for step, want := range map[time.Duration]time.Duration{
		10 * time.Millisecond: 100 * time.Millisecond, 110 * time.Millisecond: 110 * time.Millisecond, time.Minute: time.Minute,
	} {
		var text strings.Builder
		text.WriteString("time,a\n")
		for i := range 1000 {
			fmt.Fprintf(&text, "%.3f,%d\n", float64(i)*step.Seconds(), i*i%97)
		}
		columns, summary := judged(t, text.String(), Options{Warmup: Span{Samples: 500}})
		assert.Equal(t, want, summary.Streams[0].Period, step)
		decisions := 0
		for i, d2 := range columns["d2"] {
			if i > 0 && d2 != columns["d2"][i-1] {
				decisions++
			}
		}
		assert.LessOrEqual(t, decisions, int(1000*step/want)+1, "%s: decisions", step)
		_, summary = judged(t, text.String(), Options{Period: 2 * time.Minute})
		assert.Equal(t, 2*time.Minute, summary.Streams[0].Period)
	}
}

// needBPF skips where BPF cannot be had, unless the environment forbids it.
func needBPF(t *testing.T) {
	t.Helper()
	node, err := bpf.OpenNode()
	if err == nil {
		require.NoError(t, node.Close())
		return
	}
	if os.Getenv("REFLEX_REQUIRE_BPF") == "1" {
		t.Fatalf("REFLEX_REQUIRE_BPF=1, but BPF cannot be had: %v", err)
	}
	t.Skipf("needs BPF; run as root on a kernel with BTF: %v", err)
}

func TestARecordingOfThisMachineIsJudgedAsTheArcDoes(t *testing.T) {
	needBPF(t)
	const warmup, ticks = 2 * time.Second, 100
	src := sources.Open(sources.Settings{MaxCgroups: 1000}, new(sampler.SystemClock))
	defer src.Close()
	if src.Names != nil {
		defer src.Names.Close()
	}
	w := newWitness(t, warmup)
	s := sampler.New(sampler.Settings{
		Source: "ebpf", Interval: 100 * time.Millisecond, Node: src.Node, Cgroups: src.Cgroups,
		Observer: w, Clock: new(sampler.SystemClock), Handover: sampler.NewHandover(), Recorder: w,
	})
	clock := new(sampler.SystemClock)
	for range ticks {
		clock.WaitUntil((clock.Now()/1e8+1)*1e8, nil)
		s.Tick()
	}
	require.Equal(t, ticks, w.ticks)
	columns := w.agrees(t, warmup)
	ready := 0
	for _, limit := range columns["limit"] {
		if limit != "0" {
			ready++
		}
	}
	assert.Positive(t, ready, "the engine had a limit")
}

// recordedTicks is a recording of a hundred ticks.
func recordedTicks(t *testing.T) []byte {
	t.Helper()
	w := newWitness(t, 0)
	invented(100, 80, func(s *arc.Sample) {
		w.Observe(s, &arc.Judgement{})
		if s.Sequence == 50 {
			s.Sequence += 3 // not recorded
			require.NoError(t, w.writer.Flush())
		}
	})
	require.NoError(t, w.writer.Close())
	return w.file.Bytes()
}

func TestEachCgroupOfARecordingIsJudged(t *testing.T) {
	columns, summary := judged(t, string(recordedTicks(t)), Options{Dimensions: "cgroup"})
	assert.Equal(t, 300, summary.Rows)
	require.Len(t, summary.Streams, 3)
	assert.Equal(t, "reflex.cgroup.id=11 reflex.cgroup.path=/11", summary.Streams[1].Resource)
	assert.Equal(t, 100, summary.Streams[1].Rows)
	assert.Len(t, summary.Streams[1].Dimensions, 6)
	assert.Equal(t, "reflex.cgroup.id=10 reflex.cgroup.path=/10", columns["resource"][0])
	assert.Equal(t, "reflex.cgroup.id=10 reflex.cgroup.path=/10", columns["resource"][3])
	assert.Equal(t, 3*300, summary.Missing, "three pressures that nobody wrote")
}

func TestACgroupIsJudgedInTheUnitsOfItsMetrics(t *testing.T) {
	vocabulary, err := reading.New(reading.Cgroup, nil)
	require.NoError(t, err)
	detector := detect.New(detect.Config{Dimensions: vocabulary.Dimensions()})
	w := newWitness(t, 0)
	var want []string
	invented(700, 600, func(s *arc.Sample) {
		w.Observe(s, &arc.Judgement{})
		usage := float64(s.Cgroups.Value(arc.CgroupMemoryUsage, 1))
		busy := float64(s.Cgroups.Value(arc.CgroupCPUTime, 1)) / 1e9
		raw := []float64{usage, usage, busy, math.NaN(), math.NaN(), math.NaN()}
		var j arc.Judgement
		detector.Step(detect.Instant{Due: s.Scheduled, Taken: s.Taken, Interval: s.Interval, Wall: s.WallTime}, raw, arc.Control{}, &j)
		want = append(want, strconv.FormatFloat(j.Score, 'g', digits, 64))
	})
	require.NoError(t, w.writer.Close())
	columns, _ := judged(t, w.file.String(), Options{Dimensions: "cgroup"})
	var got []string
	for i, resource := range columns["resource"] {
		if strings.HasPrefix(resource, "reflex.cgroup.id=11 ") {
			got = append(got, columns["score"][i])
		}
	}
	assert.Equal(t, want, got)
	assert.NotEqual(t, "0", got[len(got)-1])
}

func TestWhatWasMissedIsTold(t *testing.T) {
	_, summary := judged(t, string(recordedTicks(t)), Options{})
	assert.Equal(t, 3, summary.LostTicks)
	assert.Positive(t, summary.MissedTicks)
	assert.Equal(t, 100*time.Millisecond, summary.Interval)
}

func TestColumnsOfTheNodeCanBeChosen(t *testing.T) {
	_, summary := judged(t, string(recordedTicks(t)), Options{Dimensions: "system.process.*s,!*.exits,system.memory.used:growth"})
	require.Len(t, summary.Streams, 1)
	kinds := map[string]detect.Kind{}
	for _, d := range summary.Streams[0].Dimensions {
		kinds[d.Name] = d.Kind
	}
	assert.Equal(t, map[string]detect.Kind{
		"system.process.forks": detect.Rate, "system.process.execs": detect.Rate, "system.memory.used": detect.Growth,
	}, kinds)
}

func TestARecordingOfTicksThatEndsEarlyIsReplayedUpToThere(t *testing.T) {
	file := recordedTicks(t)
	_, summary := judged(t, string(file[:len(file)-30]), Options{})
	assert.Equal(t, 50, summary.Rows)
	require.Len(t, summary.Skipped, 1)
	assert.Contains(t, summary.Skipped[0].Why, "the recording ends early")
	var out bytes.Buffer
	in, err := NewInput(t.Context(), "x.rfx", bytes.NewReader(file[:len(file)-30]))
	require.NoError(t, err)
	defer in.Close()
	cut, err := Dump(in, &out, false)
	require.NoError(t, err)
	require.ErrorIs(t, cut, recording.ErrTruncated)
	assert.Equal(t, 51, strings.Count(out.String(), "\n"))
}

func TestARecordingOfTicksIsRefusedWhereItCannotBeMeant(t *testing.T) {
	file := recordedTicks(t)
	damaged := bytes.Clone(file)
	damaged[len(damaged)-40] ^= 1
	empty := newWitness(t, 0)
	require.NoError(t, empty.writer.Close())
	for _, tt := range []struct {
		file []byte
		o    Options
		want string
	}{
		{damaged, Options{}, "after 50 ticks: block at byte"},
		{empty.file.Bytes(), Options{}, "holds no tick"},
		{empty.file.Bytes(), Options{Dimensions: "cgroup"}, "holds no tick"},
		{file[:9], Options{}, "the recording ends early"},
		{file, Options{Dimensions: "host_metrics"}, "none of the preset host_metrics"},
		{file, Options{Dimensions: "disk"}, `"disk" is no column of the node`},
		{file, Options{Dimensions: "system.*,!*"}, "leaves none"},
		{file, Options{Time: "t"}, "knows its times"},
		{file, Options{Label: "l"}, "has no labels"},
	} {
		_, err := replay(t, string(tt.file), tt.o, &bytes.Buffer{})
		require.ErrorContains(t, err, tt.want)
	}
}

func TestADumpHoldsEverything(t *testing.T) {
	for _, cgroups := range []bool{false, true} {
		in, err := NewInput(t.Context(), "x.rfx", bytes.NewReader(recordedTicks(t)))
		require.NoError(t, err)
		defer in.Close()
		var out bytes.Buffer
		cut, err := Dump(in, &out, cgroups)
		require.NoError(t, err)
		require.NoError(t, cut)
		rows, err := csv.NewReader(&out).ReadAll()
		require.NoError(t, err)
		if !cgroups {
			require.Len(t, rows, 101)
			assert.Equal(t, "time", rows[0][0])
			assert.Equal(t, "system.cpu.busy.time", rows[0][1])
			continue
		}
		require.Len(t, rows, 301)
		assert.Equal(t, []string{"time", "id", "parent", "path", "cgroup.memory.usage"}, rows[0][:5])
		assert.Equal(t, []string{"11", "0", "/11"}, rows[2][1:4])
		limit := 4 + int(arc.CgroupMemoryMax)
		assert.Equal(t, "cgroup.memory.limit", rows[0][limit])
		assert.Equal(t, "inf", rows[2][limit])
		assert.Empty(t, rows[2][limit-1], "nobody wrote memory.high")
	}
}
