// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import "github.com/otelcol-reflex/reflex/internal/arc"

// alarm is a detector's own reason not to learn: from its first anomalous
// decision until a cool-off after the last has passed.
type alarm struct {
	on         bool
	since      int64 // first anomalous decision, or the end of outside control
	last       int64 // last anomalous decision
	decisions  int   // anomalous decisions
	controlled bool  // learning was forbidden from outside, or harm seen, meanwhile
}

// what a decision means for the alarm.
const (
	alarmNone     = iota
	alarmAccepted // it lasted so long that the new state is taken for normal
	alarmPassed   // it was short, and nobody was harmed: a healthy spike
)

func (a *alarm) active() bool { return a.on }

// step advances the alarm by one decision at now.
func (a *alarm) step(now, period int64, anomalous bool, c arc.Control, config *Config) int {
	controlled := c.Harm || c.Frozen(now)
	switch {
	case anomalous && !a.on:
		*a = alarm{on: true, since: now, last: now, decisions: 1, controlled: controlled}
		return alarmNone
	case !a.on:
		return alarmNone
	}
	if controlled {
		// Who controls is responsible; patience starts again when control ends.
		a.controlled = true
		a.since = now
	}
	if anomalous {
		a.last = now
		a.decisions++
	}
	if config.RelearnAfter > 0 && now-a.since >= int64(config.RelearnAfter) && !controlled {
		a.on = false
		return alarmAccepted
	}
	lasted := max(int64(a.decisions)*period, 0)
	if anomalous || now-a.last <= min(int64(config.CoolOff), lasted) {
		return alarmNone
	}
	a.on = false
	if a.decisions <= passing && !a.controlled {
		return alarmPassed
	}
	return alarmNone
}
