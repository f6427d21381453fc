// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"slices"
)

const (
	// primed is how many vectors a primer keeps.
	primed = 256
	// winsor is how many scales from the median a value is believed.
	winsor = 4
)

// primer makes a robust beginning: it keeps vectors spread over the warm-up and
// estimates a baseline from them, so that the transient of a machine or a
// service that is just starting does not pass for its variance. Location is the
// median; scale the greater of the median absolute deviation and the 80 %
// quantile of absolute deviations, each in units of what a Gaussian has (a
// quantity that bursts for more than a fifth of the time has the bursts for its
// scale, one that bursts less has not); mean and covariance are then those of
// values winsorised at four scales (Huber 1981, §5; Maronna and Zamar 2002 for
// the combination).
type primer struct {
	n      int
	x      []float32 // primed × n
	rows   int
	every  stride
	next   int // rows at which to estimate next
	column []float64
	wins   []float64 // one winsorised row
	low    []float64
	high   []float64
}

func newPrimer(n int) *primer {
	return &primer{
		n: n, x: make([]float32, primed*n), every: stride{mean: 1}, next: bootstrap,
		column: make([]float64, primed), wins: make([]float64, n), low: make([]float64, n), high: make([]float64, n),
	}
}

// keep takes in x and reports whether it is time to estimate.
func (p *primer) keep(x []float64) bool {
	if !p.every.due() {
		return false
	}
	if p.rows == primed {
		for k := range primed / 2 {
			copy(p.row(k), p.row(2*k+p.every.draw(2)))
		}
		p.rows /= 2
		p.every.mean *= 2
	}
	row := p.row(p.rows)
	for j, v := range x {
		row[j] = float32(v)
	}
	p.rows++
	if p.rows < p.next {
		return false
	}
	p.next = min(2*p.rows, primed)
	return true
}

func (p *primer) row(k int) []float32 { return p.x[k*p.n : (k+1)*p.n] }

// estimate replaces b's mean and covariance by those of the vectors kept.
func (p *primer) estimate(b *Baseline) {
	for j := range p.n {
		p.limits(j, b)
	}
	clear(b.cov)
	rows := float64(p.rows)
	for k := range p.rows {
		for j, v := range p.row(k) {
			w := max(p.low[j], min(p.high[j], float64(v)))
			p.wins[j] = w - b.mean[j]
			if p.wins[j] != p.wins[j] {
				p.wins[j] = 0
			}
		}
		for c, dc := range p.wins {
			col := b.cov[c*p.n+c : (c+1)*p.n]
			for i, d := range p.wins[c:] {
				col[i] += dc * d / rows
			}
		}
	}
	b.mature = 0
	for j := range p.n {
		if b.Mature(j) {
			b.mature++
		} else {
			b.forget(j)
		}
	}
	b.refactor()
}

// limits sets between which values dimension j is believed, and b's mean of it:
// the mean of the values winsorised so.
func (p *primer) limits(j int, b *Baseline) {
	column, greatest := p.column[:0], 0.0
	for k := range p.rows {
		if v := float64(p.x[k*p.n+j]); v == v {
			column = append(column, v)
			greatest = max(greatest, math.Abs(v))
		}
	}
	b.seen[j] = int32(min(len(column), bootstrap))
	if len(column) == 0 {
		return
	}
	slices.Sort(column)
	median := column[len(column)/2]
	for i, v := range column {
		column[i] = math.Abs(v - median)
	}
	slices.Sort(column)
	s := max(1.4826*column[len(column)/2], column[len(column)*4/5]/1.2816)
	if b.floor[j] > 0 {
		s = max(s, math.Sqrt(b.floor[j]))
	} else if s = max(s, relative*math.Abs(median)); s == 0 {
		s = relative * greatest // zero but for a few bursts
	}
	p.low[j], p.high[j] = median-winsor*s, median+winsor*s
	var sum float64
	b.largest[j] = 0
	for k := range p.rows {
		if v := float64(p.x[k*p.n+j]); v == v {
			v = max(p.low[j], min(p.high[j], v))
			sum += v
			b.largest[j] = max(b.largest[j], math.Abs(v))
		}
	}
	b.mean[j] = sum / float64(len(column))
}
