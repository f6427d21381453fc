// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"math"
	"slices"

	"github.com/otelcol-reflex/reflex/eval/internal/detector"
	"github.com/otelcol-reflex/reflex/eval/internal/metric"
)

// week in seconds.
const week = 7 * 24 * 3600

// Measures says how well one detector did. What cannot be said, such as the
// delay of a detector that detected nothing, is nil.
type Measures struct {
	Name   string `json:"name"`
	Online bool   `json:"online"`
	// AUCPR and VUSPR are over scores, whatever the limit.
	AUCPR *float64 `json:"auc_pr"`
	VUSPR *float64 `json:"vus_pr"`
	Alarms
	// Equal is what the detector does at the threshold at which it has no more
	// false episodes than ours. Of files, nil.
	Equal *Alarms `json:"at_equal_episodes,omitempty"`
	// MicrosecondsPerRow is what it took on this machine, prefix included.
	MicrosecondsPerRow float64 `json:"us_per_row"`
}

// Alarms says how well alarms did.
type Alarms struct {
	DelaySeconds        *float64 `json:"delay_s"`  // median over detected intervals
	Detected            *float64 `json:"detected"` // share of intervals
	EpisodesPerNodeWeek *float64 `json:"episodes_per_node_week"`
	AlarmedShare        *float64 `json:"alarmed_share"` // of unlabelled rows
	// Threshold is the score above which rows counted as alarmed, where it was
	// chosen for the comparison.
	Threshold *float64 `json:"threshold,omitempty"`
	Tally     *Tally   `json:"counts,omitempty"`
}

// Tally is what can be added up over recordings.
type Tally struct {
	Intervals     int     `json:"intervals"`
	Detected      int     `json:"detected"`
	FalseEpisodes int     `json:"false_episodes"`
	Unlabelled    float64 `json:"unlabelled_s"`
	Alarmed       float64 `json:"unlabelled_alarmed_s"`

	delays []float64
}

// tally counts the alarms of one recording.
func tally(s Scored, alarm []bool) Tally {
	delays, intervals := metric.Delays(s.Label, alarm, s.Seconds)
	alarmed, unlabelled := metric.AlarmedShare(s.Label, alarm)
	return Tally{
		Intervals: intervals, Detected: len(delays), delays: delays,
		FalseEpisodes: metric.Episodes(s.Label, alarm, s.Seconds, metric.DefaultTolerance),
		Unlabelled:    float64(unlabelled) * s.Interval, Alarmed: float64(alarmed) * s.Interval,
	}
}

func (t *Tally) add(o Tally) {
	t.Intervals += o.Intervals
	t.Detected += o.Detected
	t.FalseEpisodes += o.FalseEpisodes
	t.Unlabelled += o.Unlabelled
	t.Alarmed += o.Alarmed
	t.delays = append(t.delays, o.delays...)
}

// alarms turns counts into rates.
func (t Tally) alarms() Alarms {
	a := Alarms{Tally: &t, DelaySeconds: median(t.delays)}
	if t.Intervals > 0 {
		a.Detected = known(float64(t.Detected) / float64(t.Intervals))
	}
	if t.Unlabelled > 0 {
		a.EpisodesPerNodeWeek = known(float64(t.FalseEpisodes) * week / t.Unlabelled)
		a.AlarmedShare = known(t.Alarmed / t.Unlabelled)
	}
	return a
}

// measure measures one detector on one recording.
func measure(s Scored, e detector.Entry, t Trace, rows int) Measures {
	return Measures{
		Name: e.Name, Online: e.Online,
		AUCPR:              known(metric.AveragePrecision(s.Label, t.Score)),
		VUSPR:              known(metric.VolumePR(s.Label, t.Score, metric.Window(len(s.Label)), metric.Thresholds)),
		Alarms:             tally(s, t.Alarm).alarms(),
		MicrosecondsPerRow: float64(t.Elapsed.Microseconds()) / float64(rows),
	}
}

// known returns a pointer to v, nil if it is not a number.
func known(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

func median(values []float64) *float64 {
	n := len(values)
	if n == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(values))
	return known((sorted[(n-1)/2] + sorted[n/2]) / 2)
}

// mean of the known values.
func mean(values []*float64) *float64 {
	var sum, n float64
	for _, v := range values {
		if v != nil {
			sum += *v
			n++
		}
	}
	return known(sum / n)
}
