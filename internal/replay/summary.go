// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"time"

	"github.com/otelcol-reflex/reflex/internal/detect"
)

// Summary says what a replay has seen.
type Summary struct {
	// Rows read, and written.
	Rows    int
	Streams []StreamSummary
	// Interval is the time between samples that tables are judged at; 0: each
	// stream's own.
	Interval time.Duration
	// Missing cells of dimensions, and the part of them that were no numbers.
	Missing, Odd int
	// OddTimes are rows that do not say their time, Backwards those that are
	// earlier than the one before.
	OddTimes, Backwards int
	// Late are measurements that were dropped because they came after later ones.
	Late int
	// MissedTicks are those of a recording of ticks that the sampler skipped, and
	// LostTicks those that were not recorded.
	MissedTicks, LostTicks int
	// Skipped are the columns, or metrics, that were no dimensions.
	Skipped []Skipped
	// Took is how long it took.
	Took time.Duration
}

// StreamSummary says what a replay has seen of one stream.
type StreamSummary struct {
	Stream
	Rows int
	// Span is the time from the first sample to the last.
	Span time.Duration
	// Period is the time between two decisions.
	Period time.Duration
	// Ready is the row, counted from 1, from which on the engine judged; 0:
	// never. ReadyAt is its time.
	Ready   int
	ReadyAt time.Duration
	// Anomalous is the number of anomalous rows.
	Anomalous int
	// Episodes in all, and the first of them that are kept.
	NumEpisodes int
	Episodes    []Episode
	// Chart is the statistic that decided at the first anomalous row.
	Chart string
	// Report is what the engine says about itself at the end.
	Report detect.Report
	// Audited: Disagreement, see [detect.Audit.Disagreement], is known. It takes
	// 128 decisions, and four a dimension, among the first streams of a recording.
	Audited      bool
	Disagreement float64
}

// NumEpisodes is that of all streams.
func (s *Summary) NumEpisodes() int {
	n := 0
	for i := range s.Streams {
		n += s.Streams[i].NumEpisodes
	}
	return n
}
