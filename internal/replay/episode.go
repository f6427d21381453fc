// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

const (
	// An episode ends after quiet without an anomalous sample, or quietSamples
	// intervals if those are longer.
	quiet        = 30 * time.Second
	quietSamples = 5
)

// Episode is a run of anomalous samples that no long calm interrupts.
type Episode struct {
	// Time is that of the first anomalous sample as the recording writes it.
	Time string
	// Start is the time since the first sample of the stream, Duration that to
	// the last anomalous sample.
	Start, Duration time.Duration
	// Anomalous is the number of anomalous samples.
	Anomalous int
	// Peak is the judgement with the greatest score relative to its limit.
	Peak arc.Judgement
	// PeakAt is the time of Peak since the first sample of the stream.
	PeakAt time.Duration
}

// Excess is the peak's score in units of its limit.
func (e *Episode) Excess() float64 { return e.Peak.Score / e.Peak.Limit }

// most episodes that are kept; more are only counted.
const mostEpisodes = 1000

// episodes gathers those of one stream.
type episodes struct {
	kept  []Episode
	n     int
	last  time.Duration // of the last anomalous sample
	quiet time.Duration
	first Episode
	open  bool
}

func newEpisodes(interval time.Duration) episodes {
	return episodes{quiet: max(quiet, quietSamples*interval)}
}

// observe takes in the judgement of the sample at, that the recording writes as
// written.
func (e *episodes) observe(at time.Duration, written []byte, j *arc.Judgement) {
	if !j.Anomalous {
		return
	}
	if !e.open || at-e.last >= e.quiet || at < e.last {
		e.open = true
		e.n++
		if len(e.kept) < mostEpisodes {
			e.kept = append(e.kept, Episode{})
		}
		e.kept[len(e.kept)-1] = Episode{Time: string(written), Start: at}
		if e.n == 1 {
			e.first = e.kept[0]
		}
	}
	e.last = at
	current := &e.kept[len(e.kept)-1]
	current.Duration = at - current.Start
	if current.Anomalous == 0 || j.Score*current.Peak.Limit > current.Peak.Score*j.Limit {
		current.Peak, current.PeakAt = *j, at
	}
	current.Anomalous++
}
