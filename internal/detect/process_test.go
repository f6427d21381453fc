// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// process draws vectors of n coordinates that share a factor (correlation 0.36),
// each an AR(1) with coefficient phi and unit variance, its innovations Gaussian
// or multivariate Student's t of five degrees of freedom.
type process struct {
	rng    *rand.Rand
	phi    float64
	t5     bool
	shared float64 // weight of the factor
	x, out []float64
}

func newProcess(seed uint64, n int, phi float64, t5 bool) *process {
	return &process{
		rng: rand.New(rand.NewPCG(seed, 77)), phi: phi, t5: t5, shared: 0.6,
		x: make([]float64, n), out: make([]float64, n),
	}
}

func (p *process) next() []float64 {
	g := math.Sqrt(1 - p.phi*p.phi)
	if p.t5 {
		var chi float64
		for range 5 {
			z := p.rng.NormFloat64()
			chi += z * z
		}
		g *= math.Sqrt(3 / chi) // variance 1
	}
	factor, own := p.shared*p.rng.NormFloat64(), math.Sqrt(1-p.shared*p.shared)
	for j := range p.x {
		p.x[j] = p.phi*p.x[j] + g*(factor+own*p.rng.NormFloat64())
	}
	copy(p.out, p.x)
	return p.out
}

// feed runs a detector over a process.
type feed struct {
	d       *Detector
	p       *process
	period  int64
	now     int64
	control arc.Control
	change  func(x []float64) // of what the process gives

	j        arc.Judgement
	episodes int   // an episode ends when 30 s have passed without an anomaly
	last     int64 // anomaly
	anomaly  int   // step of the first anomaly since run began, 0 if none
	accepted int
}

func newFeed(d *Detector, p *process) *feed {
	return &feed{d: d, p: p, period: int64(100 * time.Millisecond), now: 1e18, last: math.MinInt64 / 2}
}

// run feeds n vectors and returns the number of the first anomalous one, or 0.
func (f *feed) run(n int) int {
	f.anomaly = 0
	for k := 1; k <= n; k++ {
		f.now += f.period
		x := f.p.next()
		if f.change != nil {
			f.change(x)
		}
		f.d.Step(Instant{Due: f.now, Taken: f.now, Interval: f.period}, x, f.control, &f.j)
		if f.j.Accepted {
			f.accepted++
		}
		if !f.j.Anomalous || !f.j.Fresh {
			continue
		}
		if f.now-f.last > int64(30*time.Second) {
			f.episodes++
		}
		f.last = f.now
		if f.anomaly == 0 {
			f.anomaly = k
		}
	}
	return f.anomaly
}

func freeDimensions(n int) []Dimension {
	dims := make([]Dimension, n)
	for i := range dims {
		dims[i] = Free(fmt.Sprint("d", i))
		dims[i].Load = 1
	}
	return dims
}
