// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
	"github.com/otelcol-reflex/reflex/test/demo/telemetry"
)

// Sentence is one line of what Reflex said, in seconds from the onset.
type Sentence struct {
	Time       float64
	What, Said string
}

// said lists levels and actions in order of time, renewals left out.
func said(in *Input, r *Report) []Sentence {
	var sentences []Sentence
	for _, l := range r.Levels {
		sentences = append(sentences, Sentence{l.Time, fmt.Sprintf("level %d → %d %s", l.Previous, l.Level, l.Name), l.Reason})
	}
	if in.Story != nil {
		arm := in.Arms[recording.With]
		for _, a := range in.Story.Actions {
			if a.Verdict != "held" {
				sentences = append(sentences, Sentence{arm.WallSeconds(a.Time), actionText(a), a.Reason})
			}
		}
	}
	slices.SortStableFunc(sentences, func(a, b Sentence) int { return cmp.Compare(a.Time, b.Time) })
	return sentences
}

// actionText says what was done to whom.
func actionText(a telemetry.Action) string {
	if a.Name == "none" {
		return "nothing to do"
	}
	text := a.Name + " " + a.Verdict
	if a.Value > 0 {
		text += fmt.Sprintf(" at %.2f GiB", float64(a.Value)/gibibyte)
	}
	if a.Cgroup != "" {
		text += " on " + a.Cgroup
	}
	return text
}
