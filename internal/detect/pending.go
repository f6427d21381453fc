// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import "time"

const (
	// hesitation is how long a healthy decision waits until it is learned, at
	// least fewestPending decisions, at most mostPending.
	hesitation                 = 10 * time.Second
	fewestPending, mostPending = 8, 100
	// patience is how many decisions may wait for each independent one known. A
	// young baseline of a quantity that wanders does not know yet how far; it has
	// to follow, or be in alarm for good.
	patience = 0.5
)

// lesson is a healthy decision, as it was judged when it was made.
type lesson struct {
	x      []float64
	wall   int64
	rarity float64 // of the opinion that counted, with what the CUSUM had accumulated
	share  float64 // of an observation
	d2     float64 // from the fast baseline
	// Weights of the deviation from the fast and the slow baseline.
	fast, slow float64
	// Values of the charts of the fast, the slow and the seasonal opinion, the
	// last only where it did not object.
	charts   [3]values
	seasonal bool
}

// pending holds healthy decisions back for a while before they are learned. A
// failure that begins slowly is below the limit at first; learned at once it
// would carry the limit along, the faster the younger the baseline, and never
// be seen. What was still pending when an alarm proves to be no mere spike is
// dropped with it.
type pending struct {
	ring  []lesson
	next  int // where the next goes
	count int
}

// prepare sets the wait for decisions each period ns long. What is pending
// keeps its place if that changes nothing.
func (p *pending) prepare(period int64, n int) {
	length := max(fewestPending, min(mostPending, int((int64(hesitation)+period/2)/max(period, 1))))
	if length == len(p.ring) {
		return
	}
	p.ring = make([]lesson, length)
	x := make([]float64, length*n)
	for i := range p.ring {
		p.ring[i].x = x[i*n : (i+1)*n : (i+1)*n]
	}
	p.clear()
}

func (p *pending) clear() { p.next, p.count = 0, 0 }

// due returns the oldest lesson if its time has come, else nil. effective is
// how many independent decisions are known.
func (p *pending) due(effective float64) *lesson {
	if p.count == 0 || p.count < min(len(p.ring), int(patience*effective)) {
		return nil
	}
	l := p.oldest()
	p.count--
	return l
}

// oldest is the lesson that has waited longest; there must be one.
func (p *pending) oldest() *lesson { return &p.ring[(p.next-p.count+len(p.ring))%len(p.ring)] }

// place returns where the next lesson goes.
func (p *pending) place() *lesson { return &p.ring[p.next] }

// placed advances to the next place.
func (p *pending) placed() {
	if p.next++; p.next == len(p.ring) {
		p.next = 0
	}
	p.count++
}
