// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/policy"
)

func TestInspect(t *testing.T) {
	b := newBench(t, nil)
	insp, err := newInspector(b.dir)
	require.NoError(t, err)
	defer insp.Close()
	insp.proc = t.TempDir()
	insp.clock = func() int64 { return 1000e9 }
	write := func(pid int, text string) {
		require.NoError(t, os.MkdirAll(filepath.Join(insp.proc, strconv.Itoa(pid)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(insp.proc, strconv.Itoa(pid), "stat"), []byte(text), 0o644))
	}
	write(40, "40 (a ) (b) S 1 40 40 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 95000 1 1")
	write(41, "41 (young) S 1 40 40 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 99000 1 1")
	b.write("payment.service", "cgroup.procs", "41\n40\n7777\n")

	for name, tt := range map[string]struct {
		stat string
		want policy.Inspection
	}{
		"today's kernel": {
			"anon 1000\nfile 500\nkernel 70\nkernel_stack 10\nshmem 200\nslab_unreclaimable 30\n",
			policy.Inspection{Anon: 1000, File: 300, Shmem: 200, Kernel: 70},
		},
		"before 5.18, the kernel's parts": {
			"anon 1000\nfile 500\nkernel_stack 10\npagetables 5\npercpu 1\nsock 2\nshmem 0\nslab_reclaimable 99\nslab_unreclaimable 30\nslab 129\n",
			policy.Inspection{Anon: 1000, File: 500, Kernel: 48},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b.write("payment.service", "memory.stat", tt.stat)
			var got policy.Inspection
			require.NoError(t, insp.Inspect(b.leaker, policy.AspectMemory, &got))
			tt.want.Path, tt.want.Name, tt.want.Populated, tt.want.Age = "/payment.service", "/payment.service", true, 50*time.Second
			assert.Equal(t, tt.want, got)
		})
	}
	b.write("payment.service", "cpu.stat", "usage_usec 2500\nuser_usec 900\nsystem_usec 1600\n")
	var work policy.Inspection
	require.NoError(t, insp.Inspect(b.leaker, policy.AspectCPU, &work))
	assert.Equal(t, uint64(2_500_000), work.CPUTime)
	assert.Equal(t, uint64(900_000), work.UserTime)
	assert.Equal(t, b.leaker, insp.id("/payment.service"))
	assert.Zero(t, insp.id("/nobody.service"))
	assert.Zero(t, insp.id(""), "not the root: that is everybody's")
	assert.Zero(t, (*inspector)(nil).id("/payment.service"))

	var got policy.Inspection
	require.ErrorIs(t, insp.Inspect(1, policy.AspectMemory, &got), cgroupfs.ErrGone)
	require.NoError(t, os.RemoveAll(filepath.Join(b.dir, "payment.service")))
	require.Error(t, insp.Inspect(b.leaker, policy.AspectMemory, &got), "a directory that is gone is not reported from memory")
}

func TestInspectCountsTheBytesOfTheLowestDevicesOnly(t *testing.T) {
	b := newBench(t, nil)
	insp, err := newInspector(b.dir)
	require.NoError(t, err)
	defer insp.Close()
	sys := t.TempDir()
	insp.devices = cgroupfs.NewDevices(sys)
	require.NoError(t, os.MkdirAll(filepath.Join(sys, "dev/block/253:0/slaves/vda"), 0o755))
	require.NoError(t, os.Symlink("../../devices/virtual/block/loop0", filepath.Join(sys, "dev/block/7:0")))
	look := func(stat string) policy.Inspection {
		b.write("payment.service", "io.stat", stat)
		var got policy.Inspection
		require.NoError(t, insp.Inspect(b.leaker, policy.AspectIO, &got))
		return got
	}
	got := look("253:0 rbytes=5000 wbytes=9000 rios=1 wios=1 dbytes=0 dios=0\n" +
		"7:0 rbytes=70 wbytes=0 rios=1 wios=0\n" +
		"8:16 rbytes=100 wbytes=50 rios=1 wios=1\n" +
		"259:1 rbytes=5000 wbytes=9000 rios=1 wios=1 dbytes=0 dios=0\n")
	assert.Equal(t, uint64(5100), got.ReadBytes, "neither device mapper nor loop")
	assert.Equal(t, uint64(9050), got.WriteBytes)
	assert.Equal(t, uint64(259<<32|1), got.Device)
	assert.Zero(t, got.Anon, "not asked for")
	got = look("8:16 rbytes=100 wbytes=90050 rios=1 wios=1\n259:1 rbytes=5000 wbytes=9100 rios=1 wios=1\n")
	assert.Equal(t, uint64(8<<32|16), got.Device, "the busiest since the look before")
	assert.Equal(t, policy.Inspection{Path: "/payment.service", Name: "/payment.service", Populated: true, Age: -1, Device: 0}, look(""))
}

func TestTheFloodedInterfaceIsTheBusiest(t *testing.T) {
	b := newBench(t, nil)
	insp, err := newInspector(b.dir)
	require.NoError(t, err)
	defer insp.Close()
	insp.sys = t.TempDir()
	_, err = insp.Flooded()
	require.Error(t, err)
	link := func(name, index, packets string) {
		dir := filepath.Join(insp.sys, "class/net", name)
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "statistics"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "ifindex"), []byte(index+"\n"), 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "statistics/rx_packets"), []byte(packets+"\n"), 0o644))
	}
	link("lo", "1", "900000")
	link("eth0", "2", "5000")
	link("eth1", "3", "100")
	got, err := insp.Flooded()
	require.NoError(t, err)
	assert.Equal(t, policy.Interface{Index: 2, Name: "eth0"}, got)
	link("eth1", "3", "4000")
	link("eth0", "2", "5100")
	got, err = insp.Flooded()
	require.NoError(t, err)
	assert.Equal(t, policy.Interface{Index: 3, Name: "eth1"}, got, "since it was asked before")
}

func TestInspectorKeepsABoundedNumberOpen(t *testing.T) {
	b := newBench(t, nil)
	insp, err := newInspector(b.dir)
	require.NoError(t, err)
	defer insp.Close()
	at := int64(1e9)
	insp.clock = func() int64 { at++; return at }
	var got policy.Inspection
	for i := range 3 * maxOpen {
		require.NoError(t, insp.Inspect(b.makeCgroup("c"+strconv.Itoa(i)), policy.AspectMemory, &got))
	}
	assert.Equal(t, "/c"+strconv.Itoa(3*maxOpen-1), got.Path)
}

func TestStableName(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for path, want := range map[string]string{
		"/system.slice/payment.service":                                     "/system.slice/payment.service",
		"/system.slice/docker-" + id + ".scope":                             "/system.slice/docker-" + id + ".scope",
		"/kubepods/burstable/pod12345678-1234-1234-1234-123456789abc/" + id: "/kubepods/burstable/pod12345678-1234-1234-1234-123456789abc/*",
		"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12345678_1234_1234_1234_123456789abc.slice/cri-containerd-" + id + ".scope": "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12345678_1234_1234_1234_123456789abc.slice/cri-containerd-*.scope",
	} {
		assert.Equal(t, want, stableName(path))
	}
}
