// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// process draws vectors of n coordinates that share a factor (correlation 0.36),
// autocorrelated with phi, Gaussian or Student's t of five degrees of freedom.
type process struct {
	rng  *rand.Rand
	phi  float64
	t5   bool
	x, w []float64
}

func newProcess(seed uint64, n int, phi float64, t5 bool) *process {
	return &process{rng: rand.New(rand.NewPCG(seed, 77)), phi: phi, t5: t5, x: make([]float64, n), w: make([]float64, n)}
}

func (p *process) next() []float64 {
	g := math.Sqrt(1 - p.phi*p.phi)
	heavy := 1.0
	if p.t5 {
		var chi float64
		for range 5 {
			z := p.rng.NormFloat64()
			chi += z * z
		}
		heavy = math.Sqrt(3 / chi) // unit variance
	}
	shared := p.rng.NormFloat64()
	for j := range p.x {
		e := (0.6*shared + 0.8*p.rng.NormFloat64()) * heavy
		p.x[j] = p.phi*p.x[j] + g*e
	}
	copy(p.w, p.x)
	return p.w
}

type stretchResult struct{ episodes int }

func realised(d *Detector, p *process, decisions int, t *int64, period int64) (episodes int) {
	var j arc.Judgement
	last := int64(-1 << 60)
	for range decisions {
		*t += period
		d.Step(Instant{Due: *t, Taken: *t, Interval: period}, p.next(), arc.Control{}, &j)
		if j.Anomalous {
			if *t-last > int64(30*time.Second) {
				episodes++
			}
			last = *t
		}
	}
	return episodes
}

func TestCalibrationExperiment(t *testing.T) {
	env := os.Getenv("CAL")
	if env == "" {
		t.Skip()
	}
	seeds, _ := strconv.Atoi(env)
	ns := []int{8, 20}
	for _, n := range ns {
		for _, pr := range []struct {
			name string
			phi  float64
			t5   bool
		}{{"iid", 0, false}, {"ar.9", .9, false}, {"ar.99", .99, false}, {"t5", 0, true}, {"ar.9t5", .9, true}, {"ar.99t5", .99, true}} {
			for _, frac := range []float64{0.1, 1} {
				history := 36000
				interval := time.Duration(float64(history)*frac) * 100 * time.Millisecond
				var ratios []float64
				for s := range seeds {
					dims := make([]Dimension, n)
					for i := range dims {
						dims[i] = Free(fmt.Sprint("d", i))
					}
					d := New(Config{Dimensions: dims, FalseAlarmInterval: interval, Lean: true})
					p := newProcess(uint64(s), n, pr.phi, pr.t5)
					var at int64
					realised(d, p, history, &at, 1e8)
					test := int(8 * float64(history) * frac)
					if frac < 1 {
						test = int(20 * float64(history) * frac)
					}
					e := realised(d, p, test, &at, 1e8)
					want := float64(test) * 0.1 / interval.Seconds()
					ratios = append(ratios, want/math.Max(float64(e), 0.5))
				}
				slices.Sort(ratios)
				k := len(ratios)
				t.Logf("n=%d %-8s T/H=%.1f realised/configured median %.2f  5%%..95%%: %.2f..%.2f", n, pr.name, frac, ratios[k/2], ratios[k/20], ratios[k-1-k/20])
			}
		}
	}
}
