// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package containment

import (
	"strconv"
	"time"
)

const (
	mib = 1 << 20
	// OutsideAddress and InsideAddress are the two ends of the veth pair that leads
	// elsewhere, in a /24; InsideHardware is the latter's address on the link.
	OutsideAddress = "10.99.0.2"
	InsideAddress  = "10.99.0.1"
	InsideHardware = "02:00:0a:63:00:01"
	// OutsideNamespace is where the network namespace of the outside end is mounted,
	// and OutsideLink the end's name there.
	OutsideNamespace = "/run/reflex-outside"
	OutsideLink      = "reflex1"
	// FarNamespace is that of somebody behind the outside end, at FarAddress, who asks
	// the neighbour.
	FarNamespace = "/run/reflex-far"
	FarAddress   = "10.98.0.2"
	// StormDevice is the disk for load, SwapDevice the one for swap.
	StormDevice = "/dev/vda"
	SwapDevice  = "/dev/vdb"
)

// memoryKnobs, and so on, are what contains each pressed resource (design: levels
// 2 to 5).
var (
	memoryKnobs  = []string{"memory.high"}
	cpuKnobs     = []string{"cpu.weight", "cpu.idle", "cpu.max"}
	ioKnobs      = []string{"io.weight", "io.max"}
	forkKnobs    = []string{"pids.max"}
	egressKnobs  = []string{"network.throttle", "network.quarantine"}
	ingressKnobs = []string{"network.shield"}
)

// Scenarios is the table. To add a scenario is to add an entry here.
var Scenarios = []Scenario{
	{
		Name: "leak", About: "50 MB/s leak, no swap",
		Units: []Unit{leaking("leak.service", 300*mib, 50e6, 1024*mib, noSwap)},
		Knobs: memoryKnobs, Within: 14 * time.Second, After: 5 * time.Second, Required: true, Embedded: true,
		Budget: time.Second, // of the design, from 20 runs on
	},
	{
		Name: "leak-swap", About: "50 MB/s leak, with swap on a disk",
		Units: []Unit{leaking("leakswap.service", 300*mib, 50e6, 1024*mib)},
		Knobs: memoryKnobs, Within: 14 * time.Second, After: 5 * time.Second, Swap: true, Required: true,
	},
	{
		// What grows so slowly shows when it has grown by something: after minutes of
		// learning a limit is a cautious guess.
		Name: "leak-slow", About: "1 MB/s leak, 58 s before its limit",
		Units: []Unit{leaking("slow.service", 200*mib, 1e6, 256*mib, noSwap)},
		Knobs: memoryKnobs, Within: 57 * time.Second, After: 3 * time.Second, Required: true,
	},
	{
		Name: "leak-two", About: "two leaks at once, 50 and 15 MB/s",
		Units: []Unit{
			leaking("first.service", 150*mib, 50e6, 1024*mib, noSwap),
			leaking("second.service", 150*mib, 15e6, 400*mib, noSwap),
		},
		Knobs: memoryKnobs, Within: 15 * time.Second, After: 3 * time.Second, Required: true,
	},
	{
		Name: "leak-respawn", About: "a leak contained, killed, and started again under its name",
		// It leaks from nothing: a working set that fills at the start would be
		// contained as growth, rightly, before the leak begins.
		Units: []Unit{leaking("respawn.service", 0, 50e6, 1024*mib, noSwap)},
		Knobs: memoryKnobs, Within: 15 * time.Second, After: 3 * time.Second, Respawn: true, Required: true,
	},
	{
		// With the same weight as the others it harms nobody: the kernel sees to that,
		// and Reflex leaves it alone.
		Name: "cpu", About: "eight threads spin on two CPUs, with ten times the weight of the others",
		Units: []Unit{{
			Name: "spin.service", Role: []string{"spin", "-threads", "8", "-for", "25s"},
			Limits: [][2]string{{"cpu.weight", "1000"}}, Guilty: true,
		}},
		Knobs: cpuKnobs, Within: 10 * time.Second, After: 8 * time.Second,
		Relieves: true, Required: true,
	},
	{
		Name: "fork", About: "a fork bomb, 400 tasks a second up to 4,000",
		Units: []Unit{{Name: "bomb.service", Role: []string{"fork", "-rate", "400", "-count", "4000", "-for", "15s"}, Guilty: true}},
		Knobs: forkKnobs, Within: 10 * time.Second, After: 3 * time.Second,
		Required: true,
	},
	{
		Name: "io", About: "eight threads write a disk as fast as it goes, of which somebody else reads a little",
		Units: []Unit{
			{Name: "reader.service", Role: []string{"read", "-device", StormDevice, "-region", bytes(128 * mib), "-every", "2ms", "-for", "20s"}},
			{
				Name:   "storm.service",
				Role:   []string{"storm", "-device", StormDevice, "-threads", "8", "-region", bytes(128 * mib), "-bytes", bytes(2048 * mib), "-for", "15s"},
				Guilty: true,
			},
		},
		Knobs: ioKnobs, Within: 10 * time.Second, After: 3 * time.Second,
		Required: true,
	},
	// On a wide link a flood costs CPU time, in software interrupts, on a narrow one it
	// costs others their packets.
	{
		Name: "egress", About: "a service floods somebody elsewhere with datagrams",
		Units: []Unit{{Name: "egress.service", Role: flooding, Guilty: true}},
		Knobs: egressKnobs, Within: 12 * time.Second, After: 10 * time.Second, Relieves: true, Required: true,
	},
	{
		Name: "egress-narrow", About: "the same, and a link on the way takes 3 Mbit/s",
		Units: []Unit{{Name: "narrow.service", Role: flooding, Guilty: true}},
		Knobs: egressKnobs, Within: 12 * time.Second, After: 10 * time.Second, Relieves: true, Narrow: 375_000, Required: true,
	},
	{
		Name: "ingress", About: "one source elsewhere floods a port",
		Units: []Unit{
			{Name: "sink.service", Role: []string{"sink", "-listen", InsideAddress + ":9000"}, Serves: true},
			deluge("one-source.service", "10.99.0.3/32", InsideAddress+":9000"),
		},
		Knobs: ingressKnobs, Within: 12 * time.Second, After: 10 * time.Second, Relieves: true, Required: true,
	},
	{
		Name: "ingress-spoofed", About: "four million made-up sources flood a port",
		Units: []Unit{
			{Name: "spoofed-sink.service", Role: []string{"sink", "-listen", InsideAddress + ":9001"}, Serves: true},
			deluge("made-up.service", "100.64.0.0/10", InsideAddress+":9001"),
		},
		Knobs: ingressKnobs, Within: 12 * time.Second, After: 10 * time.Second, Relieves: true, Required: true,
	},
	{
		Name: "cache", About: "a page-cache storm: a disk is read round and round",
		Units: []Unit{{
			Name: "backup.service", Role: []string{"cache", "-device", StormDevice, "-for", "12s"},
			Limits: [][2]string{{"memory.max", bytes(256 * mib)}},
		}},
		Within: 15 * time.Second,
	},
	{
		Name: "jvm", About: "a start that fills its heap: 400 MiB in 5 s, then no more",
		Units: []Unit{{
			Name: "jvm.service", Role: []string{"grow", "-more", bytes(400 * mib), "-rate", bytes(80 * mib)},
			Limits: [][2]string{{"memory.max", bytes(512 * mib)}}, Fresh: true,
		}},
		Within: 12 * time.Second,
	},
	{
		Name: "build", About: "a parallel build: four short processes at a time",
		Units: []Unit{{
			Name: "build.service", Role: []string{"build", "-jobs", "4", "-for", "12s"},
			Limits: [][2]string{{"memory.max", bytes(512 * mib)}}, Fresh: true,
		}},
		Within: 15 * time.Second,
	},
	{
		Name: "heap", About: "a warm service doubles its heap once, at 50 MB/s",
		Units: []Unit{{
			Name: "heap.service", Role: []string{"grow", "-resident", bytes(200 * mib), "-more", bytes(200 * mib), "-rate", "50000000"},
			Limits: [][2]string{{"memory.max", bytes(512 * mib)}},
		}},
		Within: 12 * time.Second, FalsePositives: true,
	},
}

// noSwap keeps a cgroup out of swap, where the kernel has any.
var noSwap = [2]string{"memory.swap.max?", "0"}

// leaking is a guilty service that leaks at rate bytes a second.
func leaking(name string, resident, rate, limit int, more ...[2]string) Unit {
	return Unit{
		Name: name, Role: []string{"leak", "-resident", bytes(resident), "-rate", bytes(rate)},
		Limits: append([][2]string{{"memory.max", bytes(limit)}, {"memory.oom.group", "1"}}, more...), Guilty: true,
	}
}

// flooding is for longer than a scenario lasts.
var flooding = []string{"flood", "-to", FarAddress + ":9", "-size", "1400", "-for", "30s"}

// deluge floods a port here from any of the sources elsewhere, faster than an
// emulated machine can take it.
func deluge(name, from, to string) Unit {
	return Unit{Name: name, Elsewhere: true, Role: []string{
		"deluge", "-link", OutsideLink, "-hardware", InsideHardware, "-from", from, "-to", to, "-rate", "20000", "-for", "30s",
	}}
}

func bytes(n int) string { return strconv.Itoa(n) }
