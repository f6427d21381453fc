// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sensing

import (
	"fmt"
	"math"
)

// Budget is one promise and whether it was kept.
type Budget struct {
	What     string  `json:"what"`
	Limit    float64 `json:"limit"`
	Unit     string  `json:"unit"`
	Measured float64 `json:"measured"`
	// Met says whether what was measured is within the limit; Clear whether the
	// whole interval that holds the median is on that side of it.
	Met   bool `json:"met"`
	Clear bool `json:"clear"`
}

// Verdict is Met and Clear in words.
func (b Budget) Verdict() string {
	switch {
	case b.Met && b.Clear:
		return "met"
	case b.Met:
		return "met, within noise of the limit"
	case b.Clear:
		return "missed"
	}
	return "missed, within noise of the limit"
}

func (b Budget) String() string {
	return fmt.Sprintf("%s: %s %s (budget %s %s): %s", b.What, number(b.Measured), b.Unit, number(b.Limit), b.Unit, b.Verdict())
}

// atMost judges s, as it was measured, by an upper limit.
func atMost(what string, s Summary, limit float64, unit string) Budget {
	b := Budget{What: what, Limit: limit, Unit: unit, Measured: s.Median, Met: s.Median <= limit}
	b.Clear = s.High <= limit
	if !b.Met {
		b.Clear = s.Low > limit
	}
	return b
}

// The budgets of docs/benchmarks.md.
const (
	budgetCgroups  = 1000
	budgetSampling = 2.0  // percent of a core, 1,000 cgroups at 10 Hz
	budgetRatio    = 20.0 // times cheaper than cgroupfs
	budgetRestCPU  = 1.0  // percent of a core
	budgetRestRSS  = 64.0 // MiB
)

// lossBudgets are the limits of what a load may lose, in percent.
var lossBudgets = map[string]float64{
	loadScheduler: 3, loadSystemCall: 3, loadNetwork: 1, loadCompile: 1,
}

// judge fills in the budgets of what was measured.
func (r *Report) judge() {
	r.Budgets = r.Budgets[:0]
	for _, s := range r.Sweep {
		if s.Cgroups == budgetCgroups {
			r.Budgets = append(r.Budgets, sampling(s), cheaper(s))
		}
	}
	for _, row := range r.Rest {
		if row.What == restReflex && row.Interval == 100 {
			r.Budgets = append(r.Budgets,
				atMost("collector at rest, 200 cgroups every 100 ms: CPU", row.CPUSpread, budgetRestCPU, "% of a core"),
				atMost("collector at rest, 200 cgroups every 100 ms: resident memory", row.RSSSpread, budgetRestRSS, "MiB"))
		}
	}
	for _, o := range r.Overhead {
		r.Budgets = append(r.Budgets, o.judge())
	}
}

// judge is never clear where a mean of so many noisy pairs could not tell a loss
// as great as the limit from none.
func (o *Overhead) judge() Budget {
	limit := lossBudgets[o.Load]
	b := atMost("loss of the load \""+o.Load+"\"", o.LossSpread, limit, "%")
	b.Clear = b.Clear && o.Noise/math.Sqrt(float64(o.LossSpread.N)) <= limit
	return b
}

// sampling is the CPU time of ten ticks a second: sweep and node.
func sampling(s Sweep) Budget {
	percent := s.EBPFCPU.scale(func(ms float64) float64 { return (ms + s.Node) * 10 / 1000 * 100 })
	return atMost(fmt.Sprintf("sampling %d cgroups ten times a second", s.Cgroups), percent, budgetSampling, "% of a core")
}

// cheaper is the one budget that is a lower limit.
func cheaper(s Sweep) Budget {
	b := Budget{
		What: fmt.Sprintf("CPU time of a sweep of %d cgroups, less than that of cgroupfs", s.Cgroups), Limit: budgetRatio, Unit: "times",
		Measured: s.RatioCPU.Median, Met: s.RatioCPU.Median >= budgetRatio,
	}
	b.Clear = s.RatioCPU.Low >= budgetRatio
	if !b.Met {
		b.Clear = s.RatioCPU.High < budgetRatio
	}
	return b
}

// scale applies a growing function to every statistic.
func (s Summary) scale(f func(float64) float64) Summary {
	return Summary{
		N: s.N, Median: f(s.Median), Q1: f(s.Q1), Q3: f(s.Q3),
		Min: f(s.Min), Max: f(s.Max), Low: f(s.Low), High: f(s.High),
	}
}
