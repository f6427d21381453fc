// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/bpf"
	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/sources"
	"github.com/otelcol-reflex/reflex/internal/words"
)

// The least and the most that probe measures.
const (
	shortestMeasure = 100 * time.Millisecond
	longestMeasure  = time.Hour
)

// measurement is what the sources cost on this machine.
type measurement struct {
	// Seconds is how long was measured, IntervalMS how far ticks were apart.
	Seconds    float64 `json:"seconds"`
	IntervalMS int64   `json:"interval_ms"`
	Ticks      int     `json:"ticks"`
	// OwnNS is the statistics' own part of a run; 0 if it is not known.
	OwnNS    int64           `json:"statistics_ns"`
	Programs []measuredUsage `json:"programs"`
	// CorePercent is what all programs took together, whoever paid for them;
	// ReadingPercent what the process that reads them took, those included that
	// it runs itself at a tick.
	CorePercent    float64 `json:"core_percent"`
	ReadingPercent float64 `json:"reading_core_percent"`
}

// measuredUsage is what one program cost. NS and CorePercent hold the
// statistics' own part: without them it costs less.
type measuredUsage struct {
	Name        string  `json:"name"`
	Section     string  `json:"section"`
	PerSecond   float64 `json:"runs_per_second"`
	NS          float64 `json:"ns"`
	CorePercent float64 `json:"core_percent"`
}

// measureSources reads the sources as the receiver does, for a time or until ctx
// ends, with the kernel's statistics on.
func measureSources(ctx context.Context, src *sources.Sources, span time.Duration) (m *measurement, err error) {
	meter, err := bpf.OpenMeter()
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("%w: to measure takes CAP_SYS_ADMIN, run reflexctl as root", err)
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, meter.Close()) }()
	ctx, cancel := context.WithTimeout(ctx, span)
	defer cancel()
	tick := time.NewTicker(usualInterval)
	defer tick.Stop()

	m = &measurement{IntervalMS: usualInterval.Milliseconds(), OwnNS: meter.Own().Nanoseconds()}
	var node arc.Node
	var sweep arc.Sweep
	began, used := time.Now(), processorTime()
	for ; ctx.Err() == nil; m.Ticks++ {
		if err := src.Node.Read(&node); err != nil {
			return nil, err
		}
		if src.Cgroups != nil {
			if err := src.Cgroups.Sweep(&sweep); err != nil {
				return nil, err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	took := time.Since(began)
	m.Seconds, m.ReadingPercent = took.Seconds(), percent(processorTime()-used, took)
	all, err := meter.Usage()
	if err != nil {
		return nil, err
	}
	m.add(all, took)
	return m, nil
}

// add fills in the programs, the costliest first.
func (m *measurement) add(all []bpf.Usage, took time.Duration) {
	for _, u := range all {
		p := measuredUsage{Name: u.Name, PerSecond: float64(u.Runs) / took.Seconds(), CorePercent: percent(u.Time, took)}
		for _, known := range bpf.Programs {
			if known.Name == u.Name {
				p.Section = known.Section
			}
		}
		if u.Runs > 0 {
			p.NS = float64(u.Time.Nanoseconds()) / float64(u.Runs)
		}
		m.Programs = append(m.Programs, p)
		m.CorePercent += p.CorePercent
	}
	slices.SortFunc(m.Programs, func(a, b measuredUsage) int {
		return cmp.Or(cmp.Compare(b.CorePercent, a.CorePercent), cmp.Compare(a.Name, b.Name))
	})
}

func percent(part, of time.Duration) float64 { return 100 * part.Seconds() / of.Seconds() }

// processorTime is the CPU time that this process has used.
func processorTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// measured writes a measurement.
func (t *probeTable) measured(m *measurement) {
	t.line("")
	t.line(fmt.Sprintf("measured on this machine for %s, a tick every %d ms", words.Seconds(m.Seconds), m.IntervalMS))
	width := len("reading, this process")
	for _, p := range m.Programs {
		width = max(width, len(p.Name))
	}
	row := func(name, perSecond, ns, core, at string) {
		t.line(fmt.Sprintf("  %-*s  %10s  %7s  %11s  %s", width, name, perSecond, ns, core, at))
	}
	row("program", "runs/s", "ns", "% of a core", "at")
	for _, p := range m.Programs {
		ns := "–"
		if p.NS > 0 {
			ns = strconv.FormatFloat(p.NS, 'f', 0, 64)
		}
		row(p.Name, strconv.FormatFloat(p.PerSecond, 'f', 1, 64), ns, share(p.CorePercent), p.Section)
	}
	row("all", "", "", share(m.CorePercent), "")
	row("reading, this process", "", "", share(m.ReadingPercent), "")
	note := "what runs at a tick is in both sums; the kernel's statistics are a part of each run"
	if m.OwnNS > 0 {
		note = fmt.Sprintf("what runs at a tick is in both sums; of each run some %d ns are the kernel's statistics, and gone without them", m.OwnNS)
	}
	t.wrapped("  ", note)
}

func share(percent float64) string { return strconv.FormatFloat(percent, 'f', 4, 64) }
