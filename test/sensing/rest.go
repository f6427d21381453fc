// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sensing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/otelcol-reflex/reflex/test/stage"
)

// What is measured at rest.
const (
	restReflex  = "reflex"
	restSensing = "reflex, the receiver alone"
	restOther   = "host_metrics"
)

// restCase is one collector to be measured.
type restCase struct {
	what     string
	interval time.Duration
	cgroups  int
	config   func(root string) string
}

func restCases() []restCase {
	with := func(config func(root, interval string) string, interval time.Duration) func(string) string {
		return func(root string) string { return config(root, interval.String()) }
	}
	const calm, watchful = 100 * time.Millisecond, 10 * time.Millisecond
	return []restCase{
		{restReflex, calm, 200, with(everything, calm)},
		{restReflex, watchful, 200, with(everything, watchful)},
		{restSensing, calm, 200, with(sensingOnly, calm)},
		{restSensing, watchful, 200, with(sensingOnly, watchful)},
		{restSensing, calm, 1000, with(sensingOnly, calm)},
		{restOther, time.Second, 200, func(string) string { return hostMetrics }},
	}
}

// resting says how long to look at a collector, and how often.
type resting struct {
	rounds         int
	settle, period time.Duration
}

// measureRest measures every case in turns.
func measureRest(ctx context.Context, mount, binary string, how resting, say func(string, ...any)) ([]Rest, error) {
	cases := restCases()
	cpu, rss, anonymous := make([][]float64, len(cases)), make([][]float64, len(cases)), make([][]float64, len(cases))
	for round := range how.rounds {
		for i := range cases {
			i = (i + round) % len(cases) // nobody is always first
			c := &cases[i]
			share, m, err := c.measure(ctx, mount, binary, how)
			if err != nil {
				return nil, fmt.Errorf("%s at %v: %w", c.what, c.interval, err)
			}
			say("  %s, %v, %d cgroups: %.2f %% of a core, %.1f MiB", c.what, c.interval, c.cgroups, share, m.resident)
			cpu[i], rss[i] = append(cpu[i], share), append(rss[i], m.resident)
			anonymous[i] = append(anonymous[i], m.anonymous)
		}
	}
	rows := make([]Rest, 0, len(cases))
	for i, c := range cases {
		row := Rest{
			What: c.what, Interval: float64(c.interval.Milliseconds()), Cgroups: c.cgroups,
			CPUSpread: Summarise(cpu[i]), RSSSpread: Summarise(rss[i]), Anonymous: Summarise(anonymous[i]).Median,
		}
		row.CPU, row.RSS = row.CPUSpread.Median, row.RSSSpread.Median
		rows = append(rows, row)
	}
	return rows, nil
}

// measure looks at one collector in a tree of its own: its share of a core over
// the period, in percent, and its memory at the end.
func (c *restCase) measure(ctx context.Context, mount, binary string, how resting) (share float64, m memory, err error) {
	tree, err := Grow(mount, c.cgroups)
	if err != nil {
		return 0, m, err
	}
	defer func() { err = errors.Join(err, tree.Remove()) }()
	if err := tree.Populate(); err != nil {
		return 0, m, err
	}
	run, err := startCollector(ctx, binary, c.config(tree.Root))
	if err != nil {
		return 0, m, err
	}
	defer func() { err = errors.Join(err, run.stop()) }()
	if c.what != restOther {
		if _, err := run.programs(); err != nil {
			return 0, m, err
		}
	}
	if err := stage.Pause(ctx, how.settle); err != nil {
		return 0, m, err
	}
	share, err = shareOf(ctx, run.pid(), how.period)
	if err != nil {
		return 0, m, err
	}
	m, err = processMemory(run.pid())
	return share, m, err
}

// shareOf is the CPU time of a process over a period, in percent of a core.
func shareOf(ctx context.Context, pid int, period time.Duration) (float64, error) {
	start := time.Now()
	before, err := processTime(pid)
	if err != nil {
		return 0, err
	}
	if err := stage.Pause(ctx, period); err != nil {
		return 0, err
	}
	after, err := processTime(pid)
	if err != nil {
		return 0, err
	}
	return 100 * float64(after-before) / float64(time.Since(start)), nil
}
