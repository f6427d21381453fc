// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import "math"

const (
	// quarters of RelearnAfter are compared with each other.
	quarters = 4
	// wander is how far, in σ, the mean of a dimension may move from one quarter
	// to the next in a steady state, beyond twice its own uncertainty.
	wander = 0.5
	// swell is the relative change of the mean distance allowed likewise.
	swell = 0.15
	// safety is the multiple of the limit up to which a state may be accepted.
	safety = 5
	// deformed is the rarity of ρ beyond which the shape of the load has changed.
	deformed = 6
	// fewestPlateau is how many decisions a dimension a plateau lasts at least.
	fewestPlateau = 16
)

// plateau watches, while an alarm lasts, whether the new state is steady: means
// that stay, a distance that neither grows nor swings, for all of RelearnAfter.
type plateau struct {
	length   int // decisions in a quarter
	n        int // decisions in this quarter
	steady   int // quarters in a row that resembled the one before
	sum      float64
	previous []float64 // mean at the end of the last quarter
	distance float64   // mean distance of the last quarter
	began    bool
}

func (p *plateau) reset() { p.n, p.steady, p.sum, p.began, p.distance = 0, 0, 0, false, 0 }

// step takes in one decision at distance d under an alarm and reports whether
// the state has now been steady for long enough.
func (p *plateau) step(d float64, recent *moments, b *Baseline) bool {
	p.n++
	p.sum += d
	if p.n < p.length {
		return false
	}
	mean := p.sum / float64(p.n)
	calm := p.began && math.Abs(mean-p.distance) <= swell*p.distance
	for j, m := range recent.mean {
		if b.Mature(j) {
			phi := b.autocorrelation(j)
			noise := 2 * math.Sqrt((1+phi)/(1-phi)/float64(p.n))
			if math.Abs(m-p.previous[j])*b.inverse[j] > wander+noise {
				calm = false
			}
		}
	}
	copy(p.previous, recent.mean)
	p.steady++
	if !calm {
		p.steady = 0
	}
	p.n, p.sum, p.distance, p.began = 0, 0, mean, true
	return p.steady >= quarters-1
}

// adopt makes m's plateau part of normal: the fast baseline moves to it, the slow
// one remembers both, as the mixture that they are.
func adopt(fast, slow *Baseline, m *moments) {
	const weight = 0.25
	n := fast.n
	for j, seen := range m.seen {
		m.d[j] = m.mean[j] - slow.mean[j]
		if !seen { // missing all the while: as it was, uncorrelated
			m.d[j], m.mean[j], m.cov[j*n+j] = 0, fast.mean[j], fast.cov[j*n+j]
		}
	}
	for j, dj := range m.d {
		for i := j; i < n; i++ {
			at := j*n + i
			di := m.d[i]
			slow.cov[at] = (1-weight)*slow.cov[at] + weight*m.cov[at] + weight*(1-weight)*di*dj
			fast.cov[at] = (fast.cov[at] + m.cov[at]) / 2
		}
	}
	for j := range n {
		slow.mean[j] += weight * m.d[j]
		fast.mean[j] = m.mean[j]
		fast.largest[j] = max(fast.largest[j], math.Abs(m.mean[j]))
		slow.largest[j] = max(slow.largest[j], math.Abs(m.mean[j]))
	}
	fast.refactor()
	slow.refactor()
}
