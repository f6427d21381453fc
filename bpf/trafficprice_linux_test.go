// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// BenchmarkTrafficPacket is what a packet pays, by the kernel's test run of each
// program, and what a test run of a program that does nothing says.
func BenchmarkTrafficPacket(b *testing.B) {
	t, spec := &traffic{}, must(loadTraffic())
	unable(b, t.create(spec, DefaultMaxCgroups))
	defer func() { require.NoError(b, t.close()) }()
	loaded, err := t.load(spec, nil, "count_received", "count_sent")
	unable(b, err)
	defer loaded.Close()
	// As full as it gets: a key among many.
	for id := range uint64(DefaultMaxCgroups) {
		require.NoError(b, t.counts.Put(id|1<<32, make([]trafficTrafficCounts, len(t.value))))
	}
	for name, p := range map[string]*ebpf.Program{
		"empty": filterOf(b, 1), "received": loaded.Programs["count_received"], "sent": loaded.Programs["count_sent"],
	} {
		b.Run(name, func(b *testing.B) {
			frame := make([]byte, 100)
			frame[12], frame[14] = 0x08, 0x45 // Ethernet, IPv4
			const repeat = 100_000
			var spent float64
			for b.Loop() {
				verdict, took, err := p.Benchmark(frame, repeat, nil)
				require.NoError(b, err)
				require.Equal(b, uint32(1), verdict)
				spent += float64(took.Nanoseconds())
			}
			b.ReportMetric(spent/float64(b.N), "ns/packet")
		})
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// BenchmarkTrafficOnLoopback is what a datagram that a process sends to itself
// costs it, with the programs and without in turn: two packets, one sent and one
// received. By the CPU time of its thread, so that other load matters little.
func BenchmarkTrafficOnLoopback(b *testing.B) {
	root := newTree(b)
	busy := newCgroup(b, root, "busy")
	load := plan{Datagrams: 500_000, Size: 64}
	var with, without float64
	for b.Loop() {
		without += startTraffic(b, busy, load).wait(b).DatagramTime
		c := openTrafficOf(b, root)
		with += startTraffic(b, busy, load).wait(b).DatagramTime
		require.NoError(b, c.Close())
	}
	b.ReportMetric(with/float64(b.N), "ns/datagram")
	b.ReportMetric(without/float64(b.N), "ns/datagram-without")
	b.ReportMetric(100*(with/without-1), "%loss")
}

// BenchmarkTrafficPrograms is what the kernel's own statistics say of each
// program, under datagrams and connections; they add some 20 ns of their own.
func BenchmarkTrafficPrograms(b *testing.B) {
	root := newTree(b)
	busy := newCgroup(b, root, "busy")
	openTrafficOf(b, root)
	statistics, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	unable(b, err)
	defer statistics.Close()
	programs := map[string]*ebpf.Program{}
	for _, name := range []string{"count_received", "count_sent", "count_open"} {
		programs[name] = newest(b, name)
	}
	for b.Loop() {
		startTraffic(b, busy, plan{Datagrams: 100_000, Size: 64, Connections: 2000, Bytes: 64}).wait(b)
	}
	for name, p := range programs {
		s := must(p.Stats())
		b.ReportMetric(float64(s.Runtime.Nanoseconds())/float64(s.RunCount), "ns/"+name)
	}
}

// newest returns the program of that name that was loaded last.
func newest(b *testing.B, name string) *ebpf.Program {
	b.Helper()
	var found *ebpf.Program
	for id, err := ebpf.ProgramGetNextID(0); err == nil; id, err = ebpf.ProgramGetNextID(id) {
		p, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue // gone meanwhile
		}
		if info, err := p.Info(); err != nil || info.Name != name {
			require.NoError(b, p.Close())
			continue
		}
		found = p
	}
	require.NotNil(b, found, name)
	b.Cleanup(func() { require.NoError(b, found.Close()) })
	return found
}

// BenchmarkSweepThousandWithTraffic is BenchmarkSweepThousand where every cgroup
// has counts.
func BenchmarkSweepThousandWithTraffic(b *testing.B) {
	root, all := thousand(b)
	equip(b, root, all)
	c := openTrafficOf(b, root)
	for _, path := range all {
		counts := make([]trafficTrafficCounts, len(c.traffic.value))
		counts[0].Count[0] = 1
		require.NoError(b, c.traffic.counts.Put(id(b, path), counts))
	}
	var s arc.Sweep
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		if err := c.Sweep(&s); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*s.Len()), "ns/cgroup")
}
