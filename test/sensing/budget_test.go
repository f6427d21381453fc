// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sensing

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAVerdictSaysWhetherNoiseCouldTurnIt(t *testing.T) {
	for name, c := range map[string]struct {
		values  []float64
		verdict string
	}{
		"all below":    {[]float64{0.1, 0.2, 0.3}, "met"},
		"median below": {[]float64{0.1, 0.9, 1.3}, "met, within noise of the limit"},
		"on the limit": {[]float64{1, 1, 1}, "met"},
		"median above": {[]float64{0.9, 1.1, 1.3}, "missed, within noise of the limit"},
		"all above":    {[]float64{1.1, 1.2, 1.3}, "missed"},
	} {
		t.Run(name, func(t *testing.T) {
			b := atMost("x", Summarise(c.values), 1, "%")
			assert.Equal(t, c.verdict, b.Verdict())
		})
	}
}

func TestEveryBudgetIsJudgedByWhatWasMeasured(t *testing.T) {
	r := newReport(Machine{})
	r.Sweep = []Sweep{
		{Cgroups: 100, EBPFCPU: Summarise([]float64{90})},
		{Cgroups: 1000, EBPFCPU: Summarise([]float64{1.9}), Node: 0.05, RatioCPU: Summarise([]float64{19, 25, 26})},
	}
	r.Rest = []Rest{
		{What: restReflex, Interval: 10, CPUSpread: Summarise([]float64{9})},
		{What: restReflex, Interval: 100, CPUSpread: Summarise([]float64{0.8}), RSSSpread: Summarise([]float64{65})},
		{What: restOther, Interval: 1000, CPUSpread: Summarise([]float64{9})},
	}
	for _, l := range loads(sizes{}) {
		r.Overhead = append(r.Overhead, Overhead{Load: l.name, LossSpread: Summarise([]float64{2})})
	}
	r.judge()
	r.judge() // does not pile up
	var got []string
	for _, b := range r.Budgets {
		got = append(got, b.String())
	}
	require.Equal(t, []string{
		"sampling 1000 cgroups ten times a second: 1.95 % of a core (budget 2.00 % of a core): met",
		"CPU time of a sweep of 1000 cgroups, less than that of cgroupfs: 25.0 times (budget 20.0 times): met, within noise of the limit",
		"collector at rest, 200 cgroups every 100 ms: CPU: 0.80 % of a core (budget 1.00 % of a core): met",
		"collector at rest, 200 cgroups every 100 ms: resident memory: 65.0 MiB (budget 64.0 MiB): missed",
		`loss of the load "scheduler": 2.00 % (budget 3.00 %): met`,
		`loss of the load "system call": 2.00 % (budget 3.00 %): met`,
		`loss of the load "network": 2.00 % (budget 1.00 %): missed`,
		`loss of the load "compile": 2.00 % (budget 1.00 %): missed`,
	}, got)
}

func TestALossSmallerThanTheNoiseIsNotClear(t *testing.T) {
	o := Overhead{Load: loadNetwork, LossSpread: Summarise([]float64{-9, -8, -7, -6}), Noise: 8}
	assert.Equal(t, "met, within noise of the limit", o.judge().Verdict())
	o.Noise = 1.5
	assert.Equal(t, "met", o.judge().Verdict())
}

func TestEveryLoadHasABudget(t *testing.T) {
	all := loads(sizes{})
	assert.Len(t, lossBudgets, len(all))
	for _, l := range all {
		assert.Contains(t, lossBudgets, l.name)
	}
}

func TestOnlyProgramsOfEventsRunElsewhere(t *testing.T) {
	o := Overhead{CollectorCPU: 1, Shares: []Share{
		{Program: programSweep, CPU: 0.25}, {Program: programNode, CPU: 0.125}, {Program: "count_fork", CPU: 0.5}, {Program: "count_exit", CPU: 0.5},
	}}
	assert.InDelta(t, 1.0, o.elsewhere(), 1e-9, "the collector's own time has the rest already")
	r := newReport(Machine{Cores: 4})
	r.Overhead = append(r.Overhead, o)
	assert.Regexp(t, `\| +\| 1\.00 \| 1\.00 \| 0\.50 \|`, r.Markdown())
}
