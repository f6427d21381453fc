// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"slices"

	"github.com/otelcol-reflex/reflex/test/demo/telemetry"
)

// Check is one promise of the demonstration.
type Check struct {
	Name string `json:"name"`
	Want string `json:"want"`
	Got  string `json:"got"`
	OK   bool   `json:"ok"`
}

// The limits of the acceptance.
const (
	maxContained      = 2.0
	minTransactions   = 2.0
	maxNeighbourP99   = 1.25
	minLatencyWindows = 5
)

// Acceptance judges r.
func Acceptance(r *Report) []Check {
	return []Check{
		{
			"the leak kills the unprotected service", "killed by the kernel within the minute",
			secondsOr(r.OOMKillWithout, "it lived", "killed after %s"), r.OOMKillWithout != nil,
		},
		{
			"contained in time", fmt.Sprintf("memory.high written at most %g s after the onset", maxContained),
			secondsOr(r.Contained, "never contained", "%s"), r.Contained != nil && *r.Contained <= maxContained,
		},
		{
			"the protected service lives", "alive and answering a minute after the onset",
			choose(r.PaymentAliveWith, "alive and answering", "dead or silent"), r.PaymentAliveWith,
		},
		{
			"the protected service earns", fmt.Sprintf("at least %g × the transactions of the unprotected arm", minTransactions),
			fmt.Sprintf("%d against %d%s", r.TransactionsWith, r.TransactionsWithout, ratio(float64(r.TransactionsWith), float64(r.TransactionsWithout))),
			r.TransactionsWith > 0 && float64(r.TransactionsWith) >= minTransactions*float64(r.TransactionsWithout),
		},
		{
			"the neighbour does not pay", fmt.Sprintf("p99 at most %g × its baseline, medians over at least %d windows", maxNeighbourP99, minLatencyWindows),
			fmt.Sprintf("%.2f ms against %.2f ms%s, %d windows", r.NeighbourP99With, r.NeighbourP99Baseline,
				ratio(r.NeighbourP99With, r.NeighbourP99Baseline), len(r.NeighbourWindows.LeakWith)),
			neighbourUnharmed(r),
		},
		{
			"the innocent is not touched", "memory.high of the neighbour is never written",
			choose(r.NeighbourTouched, "it was written", "never written"), !r.NeighbourTouched,
		},
		{
			"the episode is told", "log events, metrics and one trace of the episode that contained the leak",
			episodeText(r), r.OTLP.Logs > 0 && r.OTLP.Metrics > 0 && r.OTLP.Spans > 0,
		},
		{
			"the ceiling is given back", "memory.high is max once Reflex has stopped",
			r.CeilingAfter, r.CeilingAfter == "max",
		},
	}
}

func neighbourUnharmed(r *Report) bool {
	return len(r.NeighbourWindows.LeakWith) >= minLatencyWindows &&
		len(r.NeighbourWindows.CalmWith)+len(r.NeighbourWindows.CalmWithout) >= minLatencyWindows &&
		r.NeighbourP99Baseline > 0 &&
		r.NeighbourP99With <= maxNeighbourP99*r.NeighbourP99Baseline
}

func episodeText(r *Report) string {
	if r.Episode == "" {
		return "no log event of a granted containment"
	}
	return countsText(r.OTLP)
}

func countsText(c telemetry.Counts) string {
	return fmt.Sprintf("%d log events, %d metric points, %d spans", c.Logs, c.Metrics, c.Spans)
}

func passed(checks []Check) bool {
	return !slices.ContainsFunc(checks, func(c Check) bool { return !c.OK })
}

// secondsOr formats a time that may not have come.
func secondsOr(t *float64, never, format string) string {
	if t == nil {
		return never
	}
	return fmt.Sprintf(format, fmt.Sprintf("%.2f s", *t))
}

func choose(yes bool, whenYes, whenNo string) string {
	if yes {
		return whenYes
	}
	return whenNo
}

// ratio formats a/b where there is one.
func ratio(a, b float64) string {
	if b <= 0 {
		return ""
	}
	return fmt.Sprintf(" (%.2f ×)", a/b)
}
