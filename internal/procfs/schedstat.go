// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"bytes"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// maxCPUs bounds the numbers of CPUs (CONFIG_NR_CPUS of the largest kernels).
const maxCPUs = 8192

// runDelay remembers what each CPU said of the time that tasks waited for it.
// /proc/schedstat lists the CPUs that are online, so that one that goes offline
// would take its share away from the sum, and one that comes back would add years
// to it. The kernel keeps counting where it left off.
type runDelay struct {
	cpus []cpuDelay // by number
	sum  uint64     // ns
	read bool       // once
}

type cpuDelay struct {
	last uint64 // ns
	seen bool
}

// add takes up what a CPU says. One that was not there at the first reading
// counts from when it is first seen: what it counted before is of another time.
func (d *runDelay) add(cpu int, delay uint64) {
	if cpu >= len(d.cpus) {
		d.cpus = append(d.cpus, make([]cpuDelay, cpu+1-len(d.cpus))...)
	}
	c := &d.cpus[cpu]
	if c.seen && delay > c.last {
		d.sum += delay - c.last
	}
	if !c.seen && !d.read {
		d.sum += delay
	}
	c.last, c.seen = delay, true
}

// parseSchedstat sums the time tasks waited for a CPU, in ns: the eighth number
// of every cpu line since version 15 (Documentation/scheduler/sched-stats.rst).
func (r *Reader) parseSchedstat(text []byte, into *arc.Node) {
	const waited = 7
	seen := false
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		key, rest := cutField(line)
		digits, found := bytes.CutPrefix(key, []byte("cpu"))
		if !found {
			continue
		}
		var columns [waited + 1]uint64
		cpu, ok := number(digits)
		if !ok || cpu >= maxCPUs || numbers(rest, columns[:]) != len(columns) {
			continue
		}
		r.delay.add(int(cpu), columns[waited])
		seen = true
	}
	r.delay.read = r.delay.read || seen
	if seen {
		r.set(into, arc.NodeRunQueueDelay, float64(r.delay.sum)/1e9)
	}
}
