// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import "github.com/otelcol-reflex/reflex/internal/arc"

// Regimes of a resource, as HOSA's whitepaper (v2.2, §6) names them. A regime is
// a reading of the same numbers for people; it never alarms by itself.
const (
	RegimeSilence     int8 = -3 // less load than the time of week explains, suddenly
	RegimeStructural  int8 = -2 // idle at all times: needs a capacity, never judged yet
	RegimeIdle        int8 = -1 // less load than usual, as at this time of the week
	RegimeHomeostasis int8 = 0
	RegimePlateau     int8 = 1 // another level, steady and harmless
	RegimeSeason      int8 = 2 // unusual, but not for this time of the week
	RegimeDisguised   int8 = 3 // margins as usual, shape not: needs a syscall mix, never judged yet
	RegimeFailure     int8 = 4 // growing, harmful, or not known to be better
	RegimePropagation int8 = 5 // needs connections and forks, never judged yet
)

// unknownIndicators are those of the taxonomy that no source gives yet. A
// missing indicator blocks regimes +3 and +5, and counts as satisfied for
// habituation.
var unknownIndicators = []string{"syscall entropy", "work per resource", "propagation", "capacity"}

const (
	// quiet is φ, in σ, below which the load is less than usual.
	quiet = -1
	// growing is how much the EWMA of log D² over 2 s leads that over 10 s while
	// the distance grows: a tenth of D² and more.
	growing = 0.1
	// abrupt is how many decisions before an alarm the rarity was still in its
	// body, for the alarm to be sudden.
	abrupt = 5
)

// regime remembers what a regime needs of the past.
type regime struct {
	calm   int  // decisions since the rarity left its body, counted down
	silent bool // the alarm began abruptly, towards less load
}

// read judges the regime of the last decision.
func (d *Detector) read(o *opinion, j *arc.Judgement, c arc.Control) int8 {
	g := &d.regime
	if o.rarity <= 0 {
		g.calm = abrupt
	} else if g.calm > 0 {
		g.calm--
	}
	if !j.Ready {
		return RegimeHomeostasis
	}
	if d.alarm.on && d.alarm.elapsed == 0 {
		g.silent = g.calm > 0 && j.Direction < quiet
	}
	if !d.alarm.on {
		return d.readCalm(j)
	}
	if g.silent && j.Direction < quiet && !c.Harm {
		return RegimeSilence
	}
	grows := o.charts.spread > o.charts.lasting+growing
	if c.Harm || grows || d.plateau.steady == 0 || !d.harmless(j) {
		return RegimeFailure // of those that fit, the most severe
	}
	return RegimePlateau
}

// readCalm is read without an alarm.
func (d *Detector) readCalm(j *arc.Judgement) int8 {
	if d.season == nil || !d.season.active {
		return RegimeHomeostasis
	}
	usual := d.season.opinion.rarity <= d.warning
	switch {
	case usual && d.fast.rarity > d.limit:
		return RegimeSeason
	case usual && j.Direction < quiet:
		return RegimeIdle
	}
	return RegimeHomeostasis
}
