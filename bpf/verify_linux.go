// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// procCounters are counters of /proc that a sample must agree with.
type procCounters struct {
	switches uint64
	busy     uint64 // ns, each of its parts cut to clock ticks
	faults   uint64
}

// clockTick is the unit of /proc/stat in ns (USER_HZ is 100 everywhere).
const clockTick = 10_000_000

func readProcCounters() (c procCounters, err error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return c, fmt.Errorf("read counters to compare with: %w", err)
	}
	for line := range bytes.Lines(stat) {
		fields := strings.Fields(string(line))
		switch {
		case len(fields) > 8 && fields[0] == "cpu":
			for i, f := range fields[1:9] {
				if i == 3 || i == 4 { // idle, iowait
					continue
				}
				ticks, _ := strconv.ParseUint(f, 10, 64)
				c.busy += ticks * clockTick
			}
		case len(fields) > 1 && fields[0] == "ctxt":
			c.switches, _ = strconv.ParseUint(fields[1], 10, 64)
		}
	}
	vmstat, err := os.Open("/proc/vmstat")
	if err != nil {
		return c, fmt.Errorf("read counters to compare with: %w", err)
	}
	defer vmstat.Close()
	for lines := bufio.NewScanner(vmstat); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "pgfault "); ok {
			c.faults, _ = strconv.ParseUint(value, 10, 64)
		}
	}
	return c, nil
}

// verify takes a sample between two looks at /proc and returns for each part of
// it what is wrong. The programs find the kernel's variables by computed
// addresses; a kernel on which these were wrong would not refuse to be read.
func (n *Node) verify() (map[uint32]error, error) {
	before, err := readProcCounters()
	if err != nil {
		return nil, err
	}
	if err := n.take(); err != nil {
		return nil, err
	}
	after, err := readProcCounters()
	if err != nil {
		return nil, err
	}
	s := &n.sample.values[0]
	switches := between("context switches", before.switches, s.Switches, after.switches)
	faults := between("page faults", before.faults, s.Faults, after.faults)
	return map[uint32]error{
		partSwitches: switches,
		partTasks:    switches, // read of the same run queues
		// Six parts, each cut to ticks.
		partCPU:        between("CPU time", before.busy, s.Busy, after.busy+6*clockTick),
		partEvents:     faults,
		partSwap:       faults, // items of the same array
		partCompaction: faults,
	}, nil
}

func between(what string, before, value, after uint64) error {
	if value < before || value > after {
		return fmt.Errorf("%s as read by BPF, %d, are not between %d and %d as read from /proc", what, value, before, after)
	}
	return nil
}
