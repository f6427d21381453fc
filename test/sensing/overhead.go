// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sensing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/test/stage"
)

// sizes are how large the loads are, and how many pairs of runs there are.
type sizes struct {
	pairs  int
	builds int // pairs of runs of the compiler, which are long
	// talks are pairs of runs of the network load, whose noise is the greatest:
	// where the scheduler puts eight clients and a server changes from run to run.
	talks int
	span  time.Duration // of a system-call or network load
	// optional is the least span beside an option; a period of the duty cycle, so
	// that every run has its share of windows.
	optional time.Duration
	loops    int    // of the ping-pong
	target   string // of the compiler
}

// pairsOf says how many pairs of runs a load has.
func (s *sizes) pairsOf(load string) int {
	switch load {
	case loadCompile:
		return s.builds
	case loadNetwork:
		return s.talks
	default:
		return s.pairs
	}
}

// loads are the loads of this machine.
func loads(s sizes) []load {
	return []load{
		{loadScheduler, "round trips/s", "perf bench sched pipe, on one CPU", func(ctx context.Context) (Work, error) {
			return pipes(ctx, s.loops)
		}},
		systemCallLoad(s, ""),
		networkLoad(s, ""),
		{
			loadCompile, "builds/s", "go build " + s.target + " from an empty cache, on all CPUs",
			func(ctx context.Context) (Work, error) { return compile(ctx, s.target) },
		},
	}
}

// systemCallLoad runs in a cgroup v2 directory, or in ours if that is "".
func systemCallLoad(s sizes, cgroup string) load {
	return load{loadSystemCall, "calls/s", "getppid in a loop, on one CPU", func(ctx context.Context) (Work, error) {
		return onOneCPU(func() (Work, error) { return ownRole(ctx, "system-call", s.span, cgroup) })
	}}
}

// networkLoad runs in a cgroup v2 directory, or in ours if that is "".
func networkLoad(s sizes, cgroup string) load {
	return load{
		loadNetwork, "answers/s",
		fmt.Sprintf("TCP over loopback, %d connections, %d bytes each way, on all CPUs", connections, messageSize),
		func(ctx context.Context) (Work, error) { return ownRole(ctx, "network", s.span, cgroup) },
	}
}

// overheadCgroups is how many cgroups there are besides the machine's own.
const overheadCgroups = 200

// measureOverhead runs each load with and without a collector that samples the
// cgroups by the receiver's defaults. There are as many cgroups in use in either
// case.
func measureOverhead(ctx context.Context, mount, binary string, s sizes, say func(string, ...any)) (_ []Overhead, err error) {
	tree, err := Grow(mount, overheadCgroups)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, tree.Remove()) }()
	if err := tree.Populate(); err != nil {
		return nil, err
	}
	config := sensingOnly(mount, "100ms")
	rows := make([]Overhead, 0, 4)
	for _, l := range loads(s) {
		row, err := l.compare(ctx, binary, "", config, s.pairsOf(l.name), say)
		if err != nil {
			return nil, err
		}
		if err := l.account(ctx, binary, config, &row); err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// compare runs the load in pairs, beside a collector with one configuration or
// without any if that is "", and beside one with the other.
func (l *load) compare(ctx context.Context, binary, base, config string, pairs int, say func(string, ...any)) (Overhead, error) {
	if _, err := l.run(ctx); err != nil { // warm
		return Overhead{}, err
	}
	order := turns(pairs)
	rates := make([]float64, 0, len(order))
	var without, with, thrifty, thriftyWith []float64
	for _, on := range order {
		beside := base
		if on {
			beside = config
		}
		work, err := l.once(ctx, binary, beside)
		if err != nil {
			return Overhead{}, err
		}
		rates = append(rates, work.rate())
		if on {
			with, thriftyWith = append(with, work.rate()), append(thriftyWith, work.economy())
		} else {
			without, thrifty = append(without, work.rate()), append(thrifty, work.economy())
		}
	}
	loss, cpu := Summarise(losses(without, with)), Summarise(losses(thrifty, thriftyWith))
	row := Overhead{
		Load: l.name, Loss: loss.Median, LossSpread: loss, CPULoss: cpu.Median, CPULossSpread: cpu, Noise: noise(rates, order),
		Without: Summarise(without), With: Summarise(with), Unit: l.unit, How: l.how,
	}
	say("  %s: %.2f %% lost (%.2f to %.2f), noise %.2f %%, per CPU time %.2f %%", l.name, row.Loss, loss.Q1, loss.Q3, row.Noise, row.CPULoss)
	return row, nil
}

// settle is how long to let a collector's start, or the end of the one before,
// be over with.
const settle = 500 * time.Millisecond

// once runs the load, beside a collector unless the configuration is "".
func (l *load) once(ctx context.Context, binary, config string) (w Work, err error) {
	if config == "" {
		if err := stage.Pause(ctx, settle); err != nil {
			return w, err
		}
		return l.run(ctx)
	}
	run, err := startCollector(ctx, binary, config)
	if err != nil {
		return w, err
	}
	defer func() { err = errors.Join(err, run.stop()) }()
	if _, err := run.programs(); err != nil {
		return w, err
	}
	if err := stage.Pause(ctx, settle); err != nil {
		return w, err
	}
	return l.run(ctx)
}

// account runs the load once more and fills in what the collector and each
// program took of the CPUs meanwhile. The kernel's statistics of programs are on:
// they cost something themselves and are therefore off where the loss is measured.
func (l *load) account(ctx context.Context, binary, config string, row *Overhead) (err error) {
	run, err := startCollector(ctx, binary, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, run.stop()) }()
	ids, err := run.programs()
	if err != nil {
		return err
	}
	statistics, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return fmt.Errorf("switch the statistics of programs on: %w", err)
	}
	defer statistics.Close()
	if err := stage.Pause(ctx, settle); err != nil { // the start is no part of it
		return err
	}
	before, err := counts(ids)
	if err != nil {
		return err
	}
	spent, err := processTime(run.pid())
	if err != nil {
		return err
	}
	start := time.Now()
	if _, err := l.run(ctx); err != nil {
		return err
	}
	took := time.Since(start)
	after, err := counts(ids)
	if err != nil {
		return err
	}
	now, err := processTime(run.pid())
	if err != nil {
		return err
	}
	row.Shares = sharesOf(differences(before, after), took)
	row.CollectorCPU = 100 * float64(now-spent) / float64(took)
	return nil
}

// elsewhere is the CPU time, in percent of a core, of the programs that run where
// their events happen, and not in the collector's own time.
func (o *Overhead) elsewhere() float64 {
	sum := 0.0
	for _, s := range o.Shares {
		if s.Program != programSweep && s.Program != programNode {
			sum += s.CPU
		}
	}
	return sum
}

// sharesOf turns counts over a time into shares, the greatest first.
func sharesOf(counted map[string]count, took time.Duration) []Share {
	out := make([]Share, 0, len(counted))
	for name, c := range counted {
		out = append(out, Share{
			Program: name, Rate: float64(c.runs) / took.Seconds(), NS: c.ns(),
			CPU: 100 * float64(c.spent) / float64(took),
		})
	}
	slices.SortFunc(out, func(a, b Share) int {
		switch {
		case a.CPU > b.CPU:
			return -1
		case a.CPU < b.CPU:
			return 1
		}
		return compareNames(a.Program, b.Program)
	})
	return out
}

// compareNames orders programs by name, the empty one last.
func compareNames(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == emptyProgram:
		return 1
	case b == emptyProgram:
		return -1
	}
	return strings.Compare(a, b)
}
