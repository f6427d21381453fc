// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package containment

import (
	"time"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
	"github.com/otelcol-reflex/reflex/test/demo/report"
)

// CalmFor is how long the neighbour is listened to before a fault.
const CalmFor = 5 * time.Second

// shownAfter is how long after containment its effect is looked for.
const shownAfter = 2 * time.Second

// Hear fills in how the neighbour fared in each trial, from all of its answers.
// A trial without a request before and after the onset is left as it is.
func Hear(trials []Trial, answers []recording.Answer) {
	for i := range trials {
		t := &trials[i]
		calmP99, calm, asked := fared(answers, t.Calm, min(t.Calm+int64(CalmFor), t.Onset))
		faultP99, fault, then := fared(answers, t.Onset, t.End)
		if asked && then {
			t.Neighbour = &Neighbour{CalmP99: calmP99, FaultP99: faultP99, CalmAnswered: calm, FaultAnswered: fault}
		}
		if t.Neighbour == nil || t.Contained == 0 {
			continue
		}
		looseP99, loose, asked := fared(answers, t.Onset, t.Contained)
		heldP99, held, then := fared(answers, t.Contained+int64(shownAfter), t.End)
		if asked && then {
			t.Neighbour.Loose, t.Neighbour.Held = &Fare{looseP99, loose}, &Fare{heldP99, held}
		}
	}
}

// fared sums up the requests that were due between two instants: the 99th
// percentile of their latency in ms, one given up counting with the time it was
// waited for, and the share that was answered.
func fared(answers []recording.Answer, from, to int64) (p99, answered float64, asked bool) {
	var latencies []float64
	good := 0
	for _, a := range answers {
		if a.Intended < from || a.Intended >= to {
			continue
		}
		latencies = append(latencies, float64(a.Latency)/1e6)
		if a.OK {
			good++
		}
	}
	if len(latencies) == 0 {
		return 0, 0, false
	}
	return report.Percentile(latencies, 0.99), float64(good) / float64(len(latencies)), true
}
