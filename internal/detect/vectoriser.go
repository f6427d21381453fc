// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"time"
)

const (
	// history is how many raw vectors the vectoriser keeps: enough for one
	// decision period of samples taken ten times as fast, and slack.
	history = 16
	// stretch is how much longer than a decision period a difference may span
	// and still be learned; beyond it, it is judged only, because averages over
	// more time vary less.
	stretch = 1.5
	// outage is how many decision periods without a sample end the history.
	outage = 10
)

// Tick says what the vectoriser made of one raw vector.
type Tick uint8

const (
	// TickNone: no difference can be formed yet (first vector, gap, repeat).
	TickNone Tick = iota
	// TickTrend: X is valid, but the decision period has not ended.
	TickTrend
	// TickStretched: X closes a decision period that ticks were missing from.
	TickStretched
	// TickDecision: X closes a decision period.
	TickDecision
)

// Vectoriser turns successive raw vectors into x(t). A counter becomes its
// difference over one decision period divided by the measured time between the
// two readings; a gauge its level at the end of the period, or its growth over
// it. The decision period is the configured one, or the input's own interval
// where that is longer. Input that is faster than the decision period slides
// the same window along, so that the distribution of x(t), and with it the rate
// of false alarms, does not depend on the sampling rate.
//
// A missing, infinite or restarted input makes its coordinate NaN: missing, not
// zero. The zero value is not usable; see [NewVectoriser].
type Vectoriser struct {
	// X is x(t) after Push, on the scales on which it is learned; NaN is missing.
	X []float64
	// Value is x(t) as measured: a level, or a rate or growth per second.
	Value []float64

	dims   []Dimension
	period int64 // ns, configured
	own    int64 // ns, the input's own interval as it says itself; 0: it does not
	pace   int64 // ns, inferred interval of an input that does not say its own

	ring     []float64 // history × len(dims)
	due      [history]int64
	taken    [history]int64
	head, n  int   // newest entry, number of entries
	decision int64 // due time of the last decision
}

// NewVectoriser returns a vectoriser for dims that decides at most once per period.
func NewVectoriser(dims []Dimension, period time.Duration) *Vectoriser {
	v := &Vectoriser{
		X:      make([]float64, len(dims)),
		Value:  make([]float64, len(dims)),
		dims:   make([]Dimension, len(dims)),
		period: int64(period),
		ring:   make([]float64, history*len(dims)),
	}
	for j := range dims {
		v.dims[j] = dims[j].withDefaults()
	}
	return v
}

// Reset forgets all history.
func (v *Vectoriser) Reset() { v.n, v.pace, v.decision = 0, 0, math.MinInt64/2 }

// Period returns the decision period in force, in ns, for an input whose
// interval is interval (0: inferred).
func (v *Vectoriser) Period(interval int64) int64 {
	if interval <= 0 {
		interval = v.pace
	}
	return max(v.least(), interval)
}

// least is the shortest decision period: also an input that is sampled faster
// for a while is judged by what is usual over its own interval.
func (v *Vectoriser) least() int64 { return max(v.period, v.own) }

// hurried says that the input may come faster than it is judged, for its own
// interval is longer than the configured period.
func (v *Vectoriser) hurried() bool { return v.own > v.period }

// Push takes the raw values of one sample: one entry a dimension, NaN where
// missing. due is the sample's place on the sampling grid, taken the instant its
// values were read, interval the sampling interval (0: unknown, inferred from
// due); all in ns.
func (v *Vectoriser) Push(due, taken, interval int64, raw []float64) Tick {
	if v.n == 0 {
		v.decision = math.MinInt64 / 2
		v.append(due, taken, raw)
		return TickNone
	}
	step := due - v.due[v.head]
	if step <= 0 {
		if step < 0 { // the source started again
			v.Reset()
			v.append(due, taken, raw)
		}
		return TickNone
	}
	if interval <= 0 {
		interval = v.follow(step)
	}
	period := max(v.least(), interval)
	if step > outage*period {
		v.n, v.decision = 0, math.MinInt64/2
		v.append(due, taken, raw)
		return TickNone
	}
	tolerance := min(interval/2, period/8)
	if v.hurried() {
		tolerance = 0 // the grid of its own interval is kept, and known exactly
	}
	base := v.before(due - period + tolerance)
	if base < 0 {
		v.append(due, taken, raw)
		return TickNone
	}
	span := due - v.due[base]
	v.difference(base, taken, raw)
	v.append(due, taken, raw)

	if due-v.decision < period-tolerance {
		return TickTrend
	}
	v.decision = due
	if float64(span) > stretch*float64(period) {
		return TickStretched
	}
	return TickDecision
}

// follow infers the interval of an input that does not tell it: the first gap
// seen, then a slow median.
func (v *Vectoriser) follow(step int64) int64 {
	switch {
	case v.pace == 0:
		v.pace = step
	case step > v.pace:
		v.pace += min(v.pace/20, step-v.pace)
	default:
		v.pace -= min(v.pace/20, v.pace-step)
	}
	return max(v.pace, 1)
}

// append stores raw as the newest entry. Input faster than a twelfth of the
// period replaces the newest entry instead, so that the history always spans a
// decision period; but not, of an input that is hurried, the entry from which
// the next decision counts.
func (v *Vectoriser) append(due, taken int64, raw []float64) {
	previous := (v.head + history - 1) % history
	base := v.hurried() && v.due[v.head] == v.decision
	if v.n < 2 || base || due-v.due[previous] >= v.least()/12 {
		v.head = (v.head + 1) % history
		v.n = min(v.n+1, history)
	}
	v.due[v.head], v.taken[v.head] = due, taken
	copy(v.ring[v.head*len(v.dims):(v.head+1)*len(v.dims)], raw)
}

// before returns the newest entry due at or before t, or -1.
func (v *Vectoriser) before(t int64) int {
	for i := range v.n {
		e := (v.head + history - i) % history
		if v.due[e] <= t {
			return e
		}
	}
	return -1
}

// difference fills X and Value from raw and the base entry.
func (v *Vectoriser) difference(base int, taken int64, raw []float64) {
	old := v.ring[base*len(v.dims):]
	elapsed := float64(taken-v.taken[base]) / 1e9
	for j := range v.dims {
		d := &v.dims[j]
		x := raw[j]
		if d.Kind != Level {
			grown := x - old[j]
			if elapsed <= 0 || (d.Kind == Rate && grown < 0) { // a counter that shrinks was restarted
				grown = math.NaN()
			}
			x = grown / elapsed
		}
		v.X[j] = d.forward(x)
		v.Value[j] = x
	}
}
