// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detector

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/eval/internal/recording"
)

const prefix = 300

// plant makes rows of five correlated metrics, one of them constant.
func plant(n int) []recording.Row {
	random := rand.New(rand.NewPCG(7, 7))
	rows := make([]recording.Row, n)
	var load float64
	for i := range rows {
		load = 0.5*load + random.NormFloat64()
		x := []float64{
			50 + 5*load + random.NormFloat64(), 1e6 + 1e5*load + 2e4*random.NormFloat64(),
			random.NormFloat64(), 0.01 * random.ExpFloat64(), 3,
		}
		rows[i] = recording.Row{Nanoseconds: int64(i) * 1e9, Raw: x, Filled: x}
	}
	return rows
}

func setting() Setting {
	return Setting{Columns: []string{"a", "b", "c", "d", "e"}, Interval: 1, Prefix: prefix, Seed: 1}
}

func replay(e Entry, rows []recording.Row) (scores []float64, alarms []bool) {
	d := e.New(setting())
	d.Fit(rows[:prefix])
	for _, row := range rows[prefix:] {
		s, a := d.Score(row)
		scores, alarms = append(scores, s), append(alarms, a)
	}
	return scores, alarms
}

// burst moves row i a long way off in the way the metrics never move.
func burst(rows []recording.Row, i int) {
	x := append([]float64(nil), rows[i].Filled...)
	x[0] += 80
	x[1] -= 3e6
	x[2] += 30
	x[3] += 2
	rows[i].Raw, rows[i].Filled = x, x
}

func TestEveryDetectorSeesTheObvious(t *testing.T) {
	for _, e := range All() {
		t.Run(e.Name, func(t *testing.T) {
			rows := plant(700)
			for i := 600; i < 603; i++ {
				burst(rows, i)
			}
			scores, alarms := replay(e, rows)
			at := 600 - prefix
			higher, early := 0, 0
			for i, s := range scores[:at] {
				require.False(t, math.IsNaN(s))
				if s >= scores[at] {
					higher++
				}
				if alarms[i] {
					early++
				}
			}
			assert.Zero(t, higher, "the burst scores above all normal rows before it")
			assert.True(t, alarms[at], "and alarms")
			assert.LessOrEqual(t, early, at/20, "where normal rows hardly do")
		})
	}
}

func TestNoDetectorLooksAhead(t *testing.T) {
	for _, e := range All() {
		t.Run(e.Name, func(t *testing.T) {
			rows := plant(500)
			scores, alarms := replay(e, rows)
			changed := plant(500)
			for i := 450; i < 500; i++ {
				burst(changed, i)
			}
			others, otherAlarms := replay(e, changed)
			assert.Equal(t, scores[:450-prefix], others[:450-prefix], "bit for bit: what comes later is not known, and seeds are fixed")
			assert.Equal(t, alarms[:450-prefix], otherAlarms[:450-prefix])
		})
	}
}

func TestStaticDetectorsForgetNothingAndLearnNothing(t *testing.T) {
	rows := plant(400)
	for _, e := range All() {
		if e.Online {
			continue
		}
		d := e.New(setting())
		d.Fit(rows[:prefix])
		first, _ := d.Score(rows[prefix])
		for range 50 {
			d.Score(rows[prefix+1])
		}
		again, _ := d.Score(rows[prefix])
		assert.Equal(t, first, again, e.Name)
	}
}

func TestMissingValuesReachReflexAsMissing(t *testing.T) {
	rows := plant(500)
	for i := 400; i < 500; i++ {
		x := append([]float64(nil), rows[i].Raw...)
		x[0] = math.NaN()
		rows[i].Raw = x
	}
	for i, e := range All() {
		scores, alarms := replay(e, rows)
		for k, s := range scores {
			require.False(t, math.IsNaN(s), "%s row %d", e.Name, k)
		}
		if i == 0 {
			assert.NotContains(t, alarms[100:], true, "a missing metric is no anomaly")
		}
	}
}

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for i, e := range All() {
		assert.False(t, seen[e.Name], e.Name)
		seen[e.Name] = true
		assert.NotEmpty(t, e.About)
		assert.Equal(t, i == 0, e.Name == Ours, "ours comes first")
	}
}

func TestChiLimit(t *testing.T) {
	// Of two degrees of freedom the tail is e^(−x/2).
	for _, interval := range []float64{1, 60} {
		s := Setting{Columns: []string{"a", "b"}, Interval: interval}
		assert.InDelta(t, math.Sqrt(-2*math.Log(interval/week)), chiLimit(s), 1e-9)
	}
	// χ²(10) at 1 − 60/604800, from tables about 37.9 to 38.
	s := Setting{Columns: make([]string, 10), Interval: 60}
	assert.InDelta(t, 35.6, math.Pow(chiLimit(s), 2), 0.5)
}

func TestStaticMahalanobisByHand(t *testing.T) {
	// Two uncorrelated dimensions of deviation 1 and 2: correlation 1 + ridge.
	rows := [][]float64{{1, 2}, {-1, 2}, {1, -2}, {-1, -2}}
	var d staticMahalanobis
	d.fit(rows)
	assert.InDelta(t, math.Sqrt((9+4)/1.01), d.score([]float64{3, 4}), 1e-12)
}

func TestOnlineMahalanobisAgreesWithStaticAtFullMemory(t *testing.T) {
	rows := plant(prefix + 1)
	plain := make([][]float64, prefix)
	for i := range plain {
		plain[i] = rows[i].Filled
	}
	var static staticMahalanobis
	static.fit(plain)
	online := onlineMahalanobis{decay: 1e-9}
	online.fit(plain)
	assert.InEpsilon(t, static.score(rows[prefix].Filled), online.score(rows[prefix].Filled), 1e-6)
}

func TestOnlineMahalanobisFollowsANewLevel(t *testing.T) {
	rows := plant(700)
	for i := prefix; i < 700; i++ {
		x := append([]float64(nil), rows[i].Filled...)
		x[2] += 30
		rows[i].Filled = x
	}
	d := onlineMahalanobis{decay: 0.02}
	var plain [][]float64
	for _, row := range rows[:prefix] {
		plain = append(plain, row.Filled)
	}
	d.fit(plain)
	first := d.score(rows[prefix].Filled)
	for _, row := range rows[prefix+1 : 699] {
		d.score(row.Filled)
	}
	assert.Greater(t, first, 20.0)
	assert.Less(t, d.score(rows[699].Filled), 7.0)
}

func TestOnlineMaxZForgets(t *testing.T) {
	d := onlineMaxZ{decay: 0.05}
	random := rand.New(rand.NewPCG(1, 1))
	var rows [][]float64
	for range 200 {
		rows = append(rows, []float64{random.NormFloat64()})
	}
	d.fit(rows)
	assert.Greater(t, d.score([]float64{20}), 10.0)
	for range 200 {
		d.score([]float64{20 + random.NormFloat64()})
	}
	assert.Less(t, d.score([]float64{20}), 2.0)
}

func TestResidualSeesABrokenCorrelation(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	var rows [][]float64
	for range 400 {
		v := random.NormFloat64()
		rows = append(rows, []float64{v, v + 0.05*random.NormFloat64(), -v + 0.05*random.NormFloat64()})
	}
	var d residual
	d.fit(rows)
	_, kept := d.components.Dims()
	assert.Equal(t, 1, kept)
	assert.Less(t, d.score([]float64{4, 4, -4}), 1.0, "far along the usual line is not seen")
	assert.Greater(t, d.score([]float64{1, -1, -1}), 1.0, "near but off it is")
}

func TestIsolation(t *testing.T) {
	assert.InDelta(t, 10.244, pathLength(256), 0.001, "c(256) of the paper")
	assert.Equal(t, 1.0, pathLength(2))
	rows := plant(1000)
	plain := make([][]float64, len(rows))
	for i := range plain {
		plain[i] = rows[i].Filled
	}
	d := isolation{seed: 1}
	d.fit(plain)
	assert.Less(t, d.score([]float64{50, 1e6, 0, 0.007, 3}), 0.5)
	assert.Greater(t, d.score([]float64{200, 9e6, 40, 4, 3}), 0.7)
}

func TestHalfSpaceKeepsCount(t *testing.T) {
	d := newHalfSpace(Setting{Columns: []string{"a", "b"}, Seed: 1}).(*calibrated).fresh().(*halfSpace)
	random := rand.New(rand.NewPCG(3, 3))
	var rows [][]float64
	for range 2*halfSpaceWindow + 10 {
		rows = append(rows, []float64{random.Float64(), random.Float64()})
	}
	d.fit(rows)
	assert.Equal(t, halfSpaceWindow, d.window)
	for _, counts := range d.reference {
		for k := range d.trees[0].cut {
			if counts[k] != counts[2*k+1]+counts[2*k+2] {
				t.Fatalf("node %d counts %d, its children %d and %d", k, counts[k], counts[2*k+1], counts[2*k+2])
			}
		}
		assert.Equal(t, int32(halfSpaceWindow), counts[0])
		assert.Equal(t, int32(10), d.latest[0][0])
	}
}

func ExampleEntry() {
	for _, e := range All() {
		fmt.Println(e.Name, e.Online)
	}
	// Output:
	// reflex true
	// maha-online true
	// maxz-online true
	// rrcf-online true
	// hstrees-online true
	// maha-static false
	// maxz-static false
	// pca-static false
	// iforest-static false
}
