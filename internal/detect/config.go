// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"time"
)

// Config of a [Detector].
type Config struct {
	Dimensions []Dimension
	// Period is the shortest decision period. Default 100 ms.
	Period time.Duration
	// Warmup is how long the baseline learns before it judges. Default 30 s.
	Warmup time.Duration
	// HalfLife and SlowHalfLife are the ages at which an observation counts half
	// in the fast and the slow baseline. Defaults 1 h and 7 days. Input that is
	// too slow to know its dimensions by then is remembered for longer.
	HalfLife, SlowHalfLife time.Duration
	// FalseAlarmInterval is the mean time between false episodes that the limit
	// aims at. Default 7 days.
	FalseAlarmInterval time.Duration
	// CoolOff bounds the time after an alarm in which nothing is learned; it is
	// otherwise as long as the alarm was. Default 30 s.
	CoolOff time.Duration
	// RelearnAfter is how long a new state must have been steady and harmless
	// before it is accepted as normal. Default 10 min; negative: never.
	RelearnAfter time.Duration
	// Trend chooses what follows the distance: [Kalman] or [EWMA].
	Trend TrendKind
	// TrendProcess and TrendNoise configure the Kalman filter of the distance.
	// Defaults 20 and 0.05.
	TrendProcess, TrendNoise float64
	// Lean does without times of the week and without the audit, which take most
	// of the memory of a detector.
	Lean bool
}

// longest bounds durations, so that sums of them stay meaningful.
const longest = 100 * 365 * 24 * time.Hour

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
		*d = min(*d, longest)
	}
	set(&c.Period, 100*time.Millisecond)
	set(&c.Warmup, 30*time.Second)
	set(&c.HalfLife, time.Hour)
	set(&c.SlowHalfLife, 7*24*time.Hour)
	set(&c.FalseAlarmInterval, 7*24*time.Hour)
	set(&c.CoolOff, 30*time.Second)
	set(&c.RelearnAfter, 10*time.Minute)
	if c.TrendProcess == 0 {
		c.TrendProcess = 20
	}
	if c.TrendNoise == 0 {
		c.TrendNoise = 0.05
	}
	c.HalfLife = max(c.HalfLife, c.Period)
	c.SlowHalfLife = max(c.SlowHalfLife, c.HalfLife)
	return c
}

const (
	// fewestObservations a dimension is what a baseline remembers at least,
	// however slow the input.
	fewestObservations = 200
	// slower is how much longer than the fast baseline's the slow one's memory is
	// at least.
	slower = 8
)

// memory returns the weights of a new observation in the fast and the slow
// baseline, 1 − 2^(−1/half-life), for decisions each period ns long.
func (c *Config) memory(period int64) (fast, slow float64) {
	least := float64(fewestObservations * (len(c.Dimensions) + 10))
	f := max(float64(c.HalfLife)/float64(period), least)
	s := max(float64(c.SlowHalfLife)/float64(period), slower*f)
	return -math.Expm1(-math.Ln2 / f), -math.Expm1(-math.Ln2 / s)
}
