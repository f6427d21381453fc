// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"bytes"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// userHZ is the unit of the CPU times in /proc/stat: 1/100 s on every Linux
// architecture, whatever the kernel's own tick (proc(5), sysconf(_SC_CLK_TCK)).
const userHZ = 100

// Positions in the "cpu" line of /proc/stat, see proc_stat(5). Guest time is
// part of user time and is not added again.
const (
	cpuUser = iota
	cpuNice
	cpuSystem
	cpuIdle
	cpuIOWait
	cpuIRQ
	cpuSoftIRQ
	cpuSteal
	cpuColumns
)

func (r *Reader) parseStat(text []byte, into *arc.Node) {
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		key, rest := cutField(line)
		switch string(key) {
		case "cpu":
			var t [cpuColumns]uint64
			if numbers(rest, t[:]) <= cpuSoftIRQ {
				continue
			}
			kernel := t[cpuSystem] + t[cpuIRQ] + t[cpuSoftIRQ]
			r.set(into, arc.NodeCPUSystem, float64(kernel)/userHZ)
			r.set(into, arc.NodeCPUSoftIRQ, float64(t[cpuSoftIRQ])/userHZ)
			r.set(into, arc.NodeCPUIRQ, float64(t[cpuIRQ])/userHZ)
			r.set(into, arc.NodeCPUBusy, float64(kernel+t[cpuUser]+t[cpuNice]+t[cpuSteal])/userHZ)
		case "ctxt":
			r.setNumber(into, arc.NodeContextSwitches, rest)
		case "processes":
			r.setNumber(into, arc.NodeForks, rest)
		case "procs_running":
			r.setNumber(into, arc.NodeTasksRunnable, rest)
		case "procs_blocked":
			r.setNumber(into, arc.NodeTasksBlocked, rest)
		}
	}
}

func (r *Reader) parseVmstat(text []byte, into *arc.Node) {
	var reclaims uint64
	reclaimed := false
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		key, rest := cutField(line)
		switch string(key) {
		case "pgfault":
			r.setNumber(into, arc.NodePageFaults, rest)
		case "pgmajfault":
			r.setNumber(into, arc.NodeMajorFaults, rest)
		case "oom_kill":
			r.setNumber(into, arc.NodeOOMKills, rest)
		case "pswpin":
			r.setNumber(into, arc.NodeSwapIn, rest)
		case "pswpout":
			r.setNumber(into, arc.NodeSwapOut, rest)
		case "compact_stall":
			r.setNumber(into, arc.NodeCompactionStalls, rest)
		default:
			// One counter a zone: allocstall_dma, allocstall_normal, ...
			if bytes.HasPrefix(key, []byte("allocstall")) {
				field, _ := cutField(rest)
				if v, ok := number(field); ok {
					reclaims, reclaimed = reclaims+v, true
				}
			}
		}
	}
	if reclaimed {
		r.set(into, arc.NodeDirectReclaims, float64(reclaims))
	}
}

// parseMeminfo needs every term of "used": a missing one would be taken for
// zero and the difference for used memory.
func (r *Reader) parseMeminfo(text []byte, into *arc.Node) {
	const (
		total = iota
		free
		available
		buffers
		cached
		swapCached
		reclaimable
		terms
	)
	var kib [terms]float64
	var seen [terms]bool
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		key, rest := cutField(line)
		term := terms
		switch string(key) {
		case "MemTotal:":
			term = total
		case "MemFree:":
			term = free
		case "MemAvailable:":
			term = available
		case "Buffers:":
			term = buffers
		case "Cached:":
			term = cached
		case "SwapCached:":
			term = swapCached
		case "SReclaimable:":
			term = reclaimable
		}
		if term == terms {
			continue
		}
		field, _ := cutField(rest)
		if v, ok := number(field); ok {
			kib[term], seen[term] = float64(v), true
		}
	}
	if seen[total] {
		r.set(into, arc.NodeMemoryTotal, kib[total]*1024)
	}
	if seen[available] {
		r.set(into, arc.NodeMemoryAvailable, kib[available]*1024)
	}
	if seen[total] && seen[free] && seen[buffers] && seen[cached] && seen[reclaimable] {
		used := kib[total] - kib[free] - kib[buffers] - kib[cached] - kib[swapCached] - kib[reclaimable]
		r.set(into, arc.NodeMemoryUsed, max(used, 0)*1024)
	}
}

// parsePressure reads the totals, in µs, of a PSI file.
func (r *Reader) parsePressure(text []byte, into *arc.Node, some, full arc.NodeField) {
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		key, rest := cutField(line)
		field := arc.NumNodeFields
		switch string(key) {
		case "some":
			field = some
		case "full":
			field = full
		}
		_, total, found := bytes.Cut(rest, []byte("total="))
		if !found {
			continue
		}
		digits, _ := cutField(total)
		if v, ok := number(digits); ok {
			r.set(into, field, float64(v)/1e6)
		}
	}
}

// setNumber writes a dimension that is the first number of rest.
func (r *Reader) setNumber(into *arc.Node, f arc.NodeField, rest []byte) {
	field, _ := cutField(rest)
	if v, ok := number(field); ok {
		r.set(into, f, float64(v))
	}
}
