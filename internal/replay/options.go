// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/otelcol-reflex/reflex/internal/detect"
)

// Options say how a recording is read and judged. The zero value is what the
// engine does by itself.
type Options struct {
	// Time and Label name columns of a table; "none": there is none; empty: t,
	// time, timestamp or ts, and label.
	Time, Label string
	// Dimensions is a list that [ParseSelection] reads, or for metrics the name
	// of a preset.
	Dimensions string
	// Interval is the time between samples; 0: the median step of the first
	// ones, or a second where no times are told.
	Interval time.Duration
	// Period is the time between two decisions, which are over exactly that time, at
	// least that between samples. 0: as in the arc, 100 ms, or the input's own
	// interval where that is longer, also while samples come faster.
	Period time.Duration
	// Warmup, HalfLife, SlowHalfLife and FalseAlarmInterval are the engine's; 0:
	// its defaults. A half-life alone that is longer than the default of the slow
	// one lengthens that, too.
	Warmup             Span
	HalfLife           time.Duration
	SlowHalfLife       time.Duration
	FalseAlarmInterval time.Duration
	// Trend is the filter of velocity and acceleration: TrendKalman, which empty
	// is too, or TrendEWMA.
	Trend string
}

// Values of Options.Trend.
const (
	TrendKalman = "kalman"
	TrendEWMA   = "ewma"
)

// Span is a length of recording: a duration or a number of samples.
type Span struct {
	Duration time.Duration
	Samples  int
}

// ParseSpan reads a duration ("10m") or a number of samples ("600").
func ParseSpan(text string) (Span, error) {
	if n, err := strconv.Atoi(text); err == nil {
		if n < 0 {
			return Span{}, fmt.Errorf("%q is negative", text)
		}
		return Span{Samples: n}, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return Span{}, fmt.Errorf("%q is neither a duration, e.g. 10m, nor a number of samples, e.g. 600", text)
	}
	if d < 0 {
		return Span{}, fmt.Errorf("%q is negative", text)
	}
	return Span{Duration: d}, nil
}

// of is the duration of s at an interval between samples.
func (s Span) of(interval time.Duration) time.Duration {
	if s.Samples > 0 {
		return time.Duration(s.Samples) * interval
	}
	return s.Duration
}

func (o *Options) validate() error {
	switch {
	case o.Interval < 0:
		return errors.New("interval: must be positive")
	case o.Period < 0:
		return errors.New("period: must be positive")
	case o.HalfLife < 0:
		return errors.New("half-life: must be positive")
	case o.SlowHalfLife < 0:
		return errors.New("slow-half-life: must be positive")
	case o.SlowHalfLife > 0 && o.SlowHalfLife < o.HalfLife:
		return fmt.Errorf("slow-half-life: %v is shorter than half-life %v", o.SlowHalfLife, o.HalfLife)
	case o.Trend != "" && o.Trend != TrendKalman && o.Trend != TrendEWMA:
		return fmt.Errorf("trend: %q is not one of kalman, ewma", o.Trend)
	case o.FalseAlarmInterval < 0:
		return errors.New("false-alarm-interval: must be positive")
	}
	return nil
}

// detection is the engine's configuration for dims that are sampled each
// interval.
func (o *Options) detection(dims []detect.Dimension, interval time.Duration) detect.Config {
	c := detect.Config{
		Dimensions: dims, Warmup: o.Warmup.of(interval), HalfLife: o.HalfLife, SlowHalfLife: o.SlowHalfLife,
		FalseAlarmInterval: o.FalseAlarmInterval, Period: o.Period,
	}
	if o.Trend == TrendEWMA {
		c.Trend = detect.EWMA
	}
	return c
}
