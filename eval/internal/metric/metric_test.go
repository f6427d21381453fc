// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package metric

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func labels(s string) []bool {
	out := make([]bool, len(s))
	for i := range s {
		out[i] = s[i] != '.'
	}
	return out
}

func seconds(n int, step float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = float64(i) * step
	}
	return out
}

func TestAveragePrecision(t *testing.T) {
	for name, c := range map[string]struct {
		label string
		score []float64
		want  float64
	}{
		"perfect": {"..#", []float64{1, 2, 3}, 1},
		"worst":   {"#..", []float64{1, 2, 3}, 1.0 / 3},
		// The example of scikit-learn's average_precision_score.
		"published": {"..##", []float64{0.1, 0.4, 0.35, 0.8}, 0.8333333333333333},
		// All rows share one threshold: precision is the share of positives.
		"all tied": {"#...", []float64{5, 5, 5, 5}, 0.25},
		// {#} at 3, then {#.} tied at 2: ½·1 + ½·⅔.
		"tie in the middle": {"##..", []float64{3, 2, 2, 1}, 0.5 + 0.5*2/3},
	} {
		t.Run(name, func(t *testing.T) {
			assert.InDelta(t, c.want, AveragePrecision(labels(c.label), c.score), 1e-12)
		})
	}
	assert.True(t, math.IsNaN(AveragePrecision(labels(".."), []float64{1, 2})))
}

// golden is a made series whose VUS-PR under TSB-AD 1.5 (commit e0975a5,
// RangeAUC_volume_opt, buffer 11, 250 thresholds) is published to the last digit.
func golden() ([]bool, []float64) {
	label, score := make([]bool, 64), make([]float64, 64)
	for i := range score {
		label[i] = i >= 10 && i < 15 || i >= 38 && i < 44
		score[i] = 0.02 + 0.16*float64(i)/63
	}
	copy(score[9:], []float64{0.25, 0.55, 0.72, 0.91, 0.84, 0.63, 0.31})
	copy(score[37:], []float64{0.22, 0.48, 0.68, 0.93, 0.87, 0.79, 0.56, 0.29})
	score[53] = 0.62
	return label, score
}

func TestVolumePRAgreesWithTSBAD(t *testing.T) {
	label, score := golden()
	assert.InDelta(t, 0.9750688705234158, VolumePR(label, score, 11, Thresholds), 1e-14)
}

func TestVolumePRByHand(t *testing.T) {
	// One interval, buffer 0 only, four rows, four thresholds. The second of two
	// positives comes third: points (R, P) (½,1) (½,½) (1,⅔) (1,½).
	label, score := labels(".##."), []float64{2, 3, 1.5, 1}
	assert.InDelta(t, 0.5+0.5*2/3, VolumePR(label, score, 0, 4), 1e-12)
}

func TestVolumePRAgreesWithTheDefinition(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		n := 60 + random.IntN(100)
		label, score := make([]bool, n), make([]float64, n)
		for i := range score {
			label[i] = i > 0 && label[i-1] && random.Float64() < 0.8 || random.Float64() < 0.05
			score[i] = float64(random.IntN(40)) // ties
			if label[i] {
				score[i] += 10
			}
		}
		label[n/2] = true
		window := random.IntN(20)
		assert.InDelta(t, plainVolume(label, score, window, 50), VolumePR(label, score, window, 50), 1e-9)
	}
}

// plainVolume evaluates every threshold of every buffer length by itself.
func plainVolume(label []bool, score []float64, window, thresholds int) float64 {
	n, order := len(score), descending(score)
	positives := float64(count(label))
	var volume float64
	for length := range window + 1 {
		soft := make([]float64, n)
		for i := range soft {
			if label[i] {
				soft[i] = 1
				continue
			}
			for _, r := range Intervals(label) {
				d := max(r.Start-i, i-r.End+1)
				if d <= length/2 {
					soft[i] += math.Sqrt(1 - float64(d)/float64(length))
				}
			}
			soft[i] = min(1, soft[i])
		}
		var groups []Interval // buffers that overlap are one, those that only touch are not
		for k, r := range Intervals(label) {
			w := Interval{max(0, r.Start-length/2), min(n, r.End+length/2)}
			if k > 0 && w.Start < groups[len(groups)-1].End {
				groups[len(groups)-1].End = w.End
			} else {
				groups = append(groups, w)
			}
		}
		var area, recall float64
		for k := range thresholds {
			threshold := score[order[k*(n-1)/(thresholds-1)]]
			var hits, mass, met, found float64
			for i, v := range score {
				if v >= threshold {
					met++
					hits += soft[i]
				}
				if v >= threshold || label[i] {
					mass += soft[i]
				}
			}
			for _, g := range groups {
				for i := g.Start; i < g.End; i++ {
					if score[i] >= threshold {
						found++
						break
					}
				}
			}
			r := min(1, hits/((positives+mass)/2)) * found / float64(len(groups))
			area += (r - recall) * hits / met
			recall = r
		}
		volume += area
	}
	return volume / float64(window+1)
}

func BenchmarkVolumePR(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	label, score := make([]bool, 24000), make([]float64, 24000)
	for i := range score {
		score[i] = random.Float64()
		label[i] = i/100%20 == 3
	}
	for b.Loop() {
		VolumePR(label, score, Window(len(score)), Thresholds)
	}
}

func TestDelays(t *testing.T) {
	delays, n := Delays(labels("..###..##.#"), labels("#...#.#.#.."), seconds(11, 2))
	assert.Equal(t, 3, n)
	assert.Equal(t, []float64{4, 2}, delays, "an alarm just before an interval does not detect it")
}

func TestEpisodes(t *testing.T) {
	one := Tolerance{GapSeconds: 2, GapRows: 2, WidenSeconds: 1, WidenRows: 1}
	for name, c := range map[string]struct {
		label, alarm string
		want         int
	}{
		"none":                           {"..........", "..........", 0},
		"alarms within the gap are one":  {"..........", ".#.#......", 1},
		"alarms beyond the gap are two":  {"..........", ".#..#.....", 2},
		"the last is counted":            {"..........", ".........#", 1},
		"inside an interval is none":     {"...###....", "....#.....", 0},
		"just before an interval":        {"...###....", "..#.......", 0},
		"just after an interval":         {"...###....", "......#...", 0},
		"clearly before an interval":     {"...###....", ".#........", 1},
		"running into an interval":       {".....##...", ".#.#.#....", 0},
		"one episode spans an interval":  {"...#......", ".#.#......", 0},
		"before an interval and after":   {"....#.....", "..#..#....", 1},
		"a second after an innocent one": {"..#.......", "..#.....#.", 1},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, Episodes(labels(c.label), labels(c.alarm), seconds(10, 1), one))
		})
	}
}

func TestEpisodesTakesTheLongerOfRowsAndSeconds(t *testing.T) {
	quiet := labels("..........")
	alarm := labels("#....#....")
	minute := seconds(10, 60)
	require.Equal(t, 1, Episodes(quiet, alarm, minute, DefaultTolerance), "five rows bind at a minute a row")
	assert.Equal(t, 2, Episodes(quiet, labels("#.....#..."), minute, DefaultTolerance))
	assert.Equal(t, 1, Episodes(quiet, labels("#.....#..."), seconds(10, 1), DefaultTolerance), "30 s bind at a second a row")
}

func TestAlarmedShare(t *testing.T) {
	alarmed, unlabelled := AlarmedShare(labels("..##.."), labels("#.##.."))
	assert.Equal(t, 1, alarmed)
	assert.Equal(t, 4, unlabelled)
}
