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
	// glitch is how many times the usual magnitude the largest counts at most.
	glitch = 1e6
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
	x      []float32 // primed × n, relative to origin
	origin []float64 // the first value of each dimension
	rows   int
	stride int // observations from one kept to the next
	until  int
	next   int // rows at which to estimate next
	column []float64
	wins   []float64 // one winsorised row
	low    []float64
	high   []float64
}

func newPrimer(n int) *primer {
	p := &primer{
		n: n, x: make([]float32, primed*n), origin: make([]float64, n), stride: 1, until: 1, next: bootstrap,
		column: make([]float64, primed), wins: make([]float64, n), low: make([]float64, n), high: make([]float64, n),
	}
	for j := range p.origin {
		p.origin[j] = math.NaN()
	}
	return p
}

// keep takes in x and reports whether it is time to estimate.
func (p *primer) keep(x []float64) bool {
	if p.until--; p.until > 0 {
		return false
	}
	p.until = p.stride
	if p.rows == primed {
		for k := range primed / 2 {
			copy(p.row(k), p.row(2*k))
		}
		p.rows /= 2
		p.stride *= 2
	}
	row := p.row(p.rows)
	for j, v := range x {
		if p.origin[j] != p.origin[j] {
			p.origin[j] = v
		}
		row[j] = float32(v - p.origin[j])
	}
	p.rows++
	if p.rows < p.next {
		return false
	}
	p.next = min(2*p.rows, primed)
	return true
}

// value is coordinate j of row k.
func (p *primer) value(k, j int) float64 { return float64(p.x[k*p.n+j]) + p.origin[j] }

func (p *primer) row(k int) []float32 { return p.x[k*p.n : (k+1)*p.n] }

// estimate replaces b's mean and covariance by those of the vectors kept.
func (p *primer) estimate(b *Baseline) {
	b.estimates++
	for j := range p.n {
		p.limits(j, b)
	}
	clear(b.cov)
	rows := float64(p.rows)
	for k := range p.rows {
		for j := range p.n {
			w := max(p.low[j], min(p.high[j], p.value(k, j)))
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
		if v := p.value(k, j); v == v {
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
	// The floor of a dimension that has none goes by the largest magnitude, bursts
	// included, but a glitch is no magnitude.
	b.largest[j] = greatest
	if usual := math.Abs(median) + winsor*s; usual > 0 {
		b.largest[j] = min(greatest, glitch*usual)
	}
	if b.floor[j] > 0 {
		s = max(s, math.Sqrt(b.floor[j]))
	} else if s = max(s, relative*math.Abs(median)); s == 0 {
		s = relative * greatest // zero but for a few bursts
	}
	p.low[j], p.high[j] = median-winsor*s, median+winsor*s
	var sum float64
	for k := range p.rows {
		if v := p.value(k, j); v == v {
			sum += max(p.low[j], min(p.high[j], v))
		}
	}
	b.mean[j] = sum / float64(len(column))
}
