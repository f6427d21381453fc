// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import "github.com/otelcol-reflex/reflex/internal/arc"

// alarm is a detector's own reason not to learn: from its first anomalous
// decision until a cool-off after the last has passed.
type alarm struct {
	on         bool
	since      int64   // first anomalous decision, or the end of outside control
	last       int64   // last anomalous decision
	decisions  int     // anomalous decisions
	elapsed    int     // decisions since the first
	peak       float64 // greatest rarity
	controlled bool    // harm was done, or learning forbidden without an episode, meanwhile
}

// outcome is what a decision means for the alarm.
type outcome uint8

const (
	alarmNone outcome = iota
	// alarmPassed: it was short, and nobody was harmed: a healthy spike.
	alarmPassed
	// alarmEnded: it was not short, or controlled.
	alarmEnded
)

// step advances the alarm by one decision at now of rarity u. An alarm of at
// most passing decisions in which no harm was done counts as passed, whatever was
// feared meanwhile.
func (a *alarm) step(now, period int64, anomalous bool, u float64, c arc.Control, coolOff int64, passing int) outcome {
	controlled := c.Harmed || c.Frozen(now) && !c.Watchful
	switch {
	case anomalous && !a.on:
		*a = alarm{on: true, since: now, last: now, decisions: 1, peak: u, controlled: controlled}
		return alarmNone
	case !a.on:
		return alarmNone
	}
	a.elapsed++
	a.last, a.since = min(a.last, now), min(a.since, now) // a clock that was set back
	a.controlled = a.controlled || controlled
	if c.Harm || c.Frozen(now) {
		// Who controls is responsible; patience starts again when control ends.
		a.since, a.elapsed = now, 0
	}
	if anomalous {
		a.last = now
		a.decisions++
		a.peak = max(a.peak, u)
	}
	lasted := max(int64(a.decisions)*period, 0)
	if anomalous || now-a.last <= min(coolOff, lasted) {
		return alarmNone
	}
	a.on = false
	if a.decisions <= passing && !a.controlled {
		return alarmPassed
	}
	return alarmEnded
}
