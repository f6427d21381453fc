// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// delegate gives the children of root a controller, and skips the test on a
// machine that has it elsewhere.
func delegate(t testing.TB, root, controller string) {
	t.Helper()
	if !cgroupfs.HasController(root, controller) {
		t.Skipf("%s has no %s controller", root, controller)
	}
	write(t, filepath.Join(root, "cgroup.subtree_control"), "+"+controller)
}

func write(t testing.TB, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0))
}

// number reads a file that holds one.
func number(t testing.TB, path string) uint64 {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return parse(t, string(text))
}

// keyed reads one value of a flat keyed file.
func keyed(t testing.TB, path, key string) uint64 {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	v, ok := cgroupfs.Keyed(text, key)
	require.True(t, ok, "%s has no %s", path, key)
	return v
}

// agrees sweeps until the column of the cgroup is what the kernel says before
// and after: exact while nothing moves.
func agrees(t testing.TB, c *Cgroups, path string, f arc.CgroupField, kernel func() uint64) uint64 {
	t.Helper()
	var s arc.Sweep
	var before, here, after uint64
	require.Eventually(t, func() bool {
		before = kernel()
		require.NoError(t, c.Sweep(&s))
		here, after = row(t, &s, path, f), kernel()
		return before == after && here == after
	}, 10*time.Second, 20*time.Millisecond, "%s: kernel %d, here %d, kernel %d", arc.CgroupFields[f].Name, before, here, after)
	return here
}

func TestSweepCountsTasks(t *testing.T) {
	root := newTree(t)
	delegate(t, root, "pids")
	parent := newCgroup(t, root, "parent")
	write(t, filepath.Join(parent, "cgroup.subtree_control"), "+pids")
	child := newCgroup(t, parent, "child")
	write(t, filepath.Join(child, "pids.max"), "77")
	c := openCgroups(t, root, 0)

	load := []*exec.Cmd{startIn(t, child, 20*time.Second), startIn(t, child, 20*time.Second), startIn(t, child, 20*time.Second)}
	current := func() uint64 { return number(t, filepath.Join(child, "pids.current")) }
	require.Eventually(t, func() bool { return current() >= 3 }, 10*time.Second, 10*time.Millisecond)
	tasks := agrees(t, c, child, arc.CgroupPids, current)
	assert.GreaterOrEqual(t, tasks, uint64(3), "three processes, threads counted")
	agrees(t, c, parent, arc.CgroupPids, current)

	var s arc.Sweep
	require.NoError(t, c.Sweep(&s))
	assert.Equal(t, uint64(77), row(t, &s, child, arc.CgroupPidsMax))
	assert.Equal(t, arc.Unlimited, row(t, &s, parent, arc.CgroupPidsMax))
	for _, l := range load {
		stop(t, l)
	}
	assert.Zero(t, agrees(t, c, child, arc.CgroupPids, current))
}

func TestSweepSeesAQuotaUsedUp(t *testing.T) {
	root := newTree(t)
	delegate(t, root, "cpu")
	throttled, free := newCgroup(t, root, "throttled"), newCgroup(t, root, "free")
	write(t, filepath.Join(throttled, "cpu.max"), "20000 100000") // 20 ms in 100
	c := openCgroups(t, root, 0)
	stat := filepath.Join(throttled, "cpu.stat")

	load, other := startIn(t, throttled, 20*time.Second), startIn(t, free, 20*time.Second)
	var s arc.Sweep
	time.Sleep(1500 * time.Millisecond) // of load, not a wait for something to happen
	// A throttle that lasts is counted when it ends: a period ago at most.
	before := keyed(t, stat, "throttled_usec") * 1000
	require.NoError(t, c.Sweep(&s))
	here := row(t, &s, throttled, arc.CgroupCPUThrottledTime)
	after := keyed(t, stat, "throttled_usec") * 1000
	assert.GreaterOrEqual(t, here+1000, before, "as young as the kernel's own")
	assert.LessOrEqual(t, here, after+1000)
	assert.Greater(t, here, uint64(300*time.Millisecond), "four fifths of most periods")
	stop(t, load)
	stop(t, other)

	periods := agrees(t, c, throttled, arc.CgroupCPUPeriods, func() uint64 { return keyed(t, stat, "nr_periods") })
	full := agrees(t, c, throttled, arc.CgroupCPUThrottledPeriods, func() uint64 { return keyed(t, stat, "nr_throttled") })
	t.Logf("%d periods, %d throttled for %d ns", periods, full, here)
	assert.Greater(t, full, uint64(4))
	assert.LessOrEqual(t, full, periods)

	require.NoError(t, c.Sweep(&s))
	assert.InDelta(t, keyed(t, stat, "throttled_usec")*1000, row(t, &s, throttled, arc.CgroupCPUThrottledTime), 1000, "the file is cut to µs")
	for _, f := range []arc.CgroupField{arc.CgroupCPUPeriods, arc.CgroupCPUThrottledPeriods, arc.CgroupCPUThrottledTime} {
		assert.Zero(t, row(t, &s, free, f), "no quota: %s", arc.CgroupFields[f].Name)
	}
}

func TestSweepSeesSwap(t *testing.T) {
	if os.Getenv("REFLEX_TEST_EXHAUST") == "" {
		t.Skip("needs a machine of its own: it turns swap on")
	}
	root := newTree(t)
	delegate(t, root, "memory")
	child := newCgroup(t, root, "child")
	swapOn(t)
	c := openCgroups(t, root, 0)
	var s arc.Sweep
	require.NoError(t, c.Sweep(&s))
	assert.Zero(t, row(t, &s, child, arc.CgroupMemorySwap))

	holder := startHolder(t, child, "REFLEX_TEST_HOLD", 64)
	defer stop(t, holder)
	// What could not be reclaimed of it is an error, and does not matter.
	_ = os.WriteFile(filepath.Join(child, "memory.reclaim"), []byte("32M"), 0)
	current := func() uint64 { return number(t, filepath.Join(child, "memory.swap.current")) }
	swapped := agrees(t, c, child, arc.CgroupMemorySwap, current)
	t.Logf("%d bytes swapped", swapped)
	assert.Greater(t, swapped, uint64(8<<20))
	agrees(t, c, root, arc.CgroupMemorySwap, current)
}

func TestSweepSeesStallsOnMemoryAndIO(t *testing.T) {
	if os.Getenv("REFLEX_TEST_EXHAUST") == "" {
		t.Skip("needs a machine of its own: it turns swap on")
	}
	root := newTree(t)
	delegate(t, root, "memory")
	child := newCgroup(t, root, "child")
	write(t, filepath.Join(child, "memory.high"), strconv.Itoa(32<<20))
	swapOn(t)
	c := openCgroups(t, root, 0)
	thrasher := startHolder(t, child, "REFLEX_TEST_THRASH", 64)
	time.Sleep(2500 * time.Millisecond) // of load; a flush of the kernel's falls into it

	var s arc.Sweep
	for _, p := range []struct {
		file, kind string
		field      arc.CgroupField
	}{
		{"memory.pressure", "some", arc.CgroupPressureMemorySome},
		{"memory.pressure", "full", arc.CgroupPressureMemoryFull},
		{"io.pressure", "some", arc.CgroupPressureIOSome},
		{"io.pressure", "full", arc.CgroupPressureIOFull},
	} {
		before := stalled(t, filepath.Join(child, p.file), p.kind)
		require.NoError(t, c.Sweep(&s))
		here := row(t, &s, child, p.field)
		after := stalled(t, filepath.Join(child, p.file), p.kind)
		t.Logf("%s %s: kernel %d, here %d, kernel %d ns", p.file, p.kind, before, here, after)
		assert.Greater(t, here, uint64(50*time.Millisecond), "%s %s", p.file, p.kind)
		const apart = 40e6 // a mean over CPUs of times that are still running
		assert.GreaterOrEqual(t, float64(here), 0.9*float64(before)-apart, "%s %s", p.file, p.kind)
		assert.LessOrEqual(t, float64(here), 1.1*float64(after)+apart, "%s %s", p.file, p.kind)
	}
	stop(t, thrasher)
}

// stalled reads the total of a line of a PSI file, in ns.
func stalled(t testing.TB, path, kind string) uint64 {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, kind+" ") {
			return pressureTotal([]byte(line)) * 1000
		}
	}
	t.Fatalf("%s has no line %q", path, kind)
	return 0
}

// startHolder starts a process in the cgroup at path that takes so many MiB, and
// waits until it has: REFLEX_TEST_HOLD keeps them, REFLEX_TEST_THRASH uses them
// over and over.
func startHolder(t testing.TB, path, what string, mebibytes int) *exec.Cmd {
	t.Helper()
	directory, err := os.Open(path)
	require.NoError(t, err)
	defer directory.Close()
	command := exec.Command("/proc/self/exe")
	command.Env = append(os.Environ(), what+"="+strconv.Itoa(mebibytes), "GOMAXPROCS=1")
	command.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(directory.Fd())}
	ready, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	_, err = io.ReadFull(ready, make([]byte, 1))
	require.NoError(t, err)
	return command
}

// holdMemory is what the process of startHolder does; it ends itself if nobody
// does.
func holdMemory(mebibytes int, over bool) {
	memory, err := unix.Mmap(-1, 0, mebibytes<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		panic(err)
	}
	_ = unix.Madvise(memory, unix.MADV_NOHUGEPAGE)
	for round, end := 0, time.Now().Add(time.Minute); time.Now().Before(end); round++ {
		for i := 0; i < len(memory); i += 4096 {
			memory[i] = byte(i>>12 + round)
		}
		if round == 0 {
			fmt.Print("+")
		}
		if !over {
			time.Sleep(time.Until(end))
		}
	}
}

// swapOn makes a block device in memory (null_blk) and swaps to it until the
// test ends.
func swapOn(t testing.TB) {
	t.Helper()
	const config = "/sys/kernel/config"
	if err := unix.Mount("configfs", config, "configfs", 0, ""); err != nil {
		t.Skipf("no configfs: %v", err)
	}
	t.Cleanup(func() { assert.NoError(t, unix.Unmount(config, 0)) })
	device := filepath.Join(config, "nullb", "reflex")
	if err := os.Mkdir(device, 0o755); err != nil {
		t.Skipf("no null_blk: %v", err)
	}
	t.Cleanup(func() { assert.NoError(t, unix.Rmdir(device)) })
	before := nullDevices(t)
	// A disk, not a memory: requests take 1 ms.
	slow := [2][2]string{{"irqmode", "2"}, {"completion_nsec", "1000000"}}
	for _, set := range [][2]string{{"memory_backed", "1"}, {"size", "128"}, {"blocksize", "4096"}, slow[0], slow[1], {"power", "1"}} {
		write(t, filepath.Join(device, set[0]), set[1])
	}
	node := ""
	require.Eventually(t, func() bool {
		for _, name := range nullDevices(t) {
			if !slices.Contains(before, name) {
				node = name
			}
		}
		return node != ""
	}, 10*time.Second, 10*time.Millisecond)

	// The header of a swap area, version 1 (include/linux/swap.h).
	header := make([]byte, 4096)
	binary.NativeEndian.PutUint32(header[1024:], 1)
	binary.NativeEndian.PutUint32(header[1028:], 128<<20/4096-1)
	copy(header[4086:], "SWAPSPACE2")
	write(t, node, string(header))
	path, err := unix.BytePtrFromString(node)
	require.NoError(t, err)
	_, _, errno := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(path)), 0, 0)
	require.Zero(t, errno, "swapon %s", node)
	t.Cleanup(func() {
		_, _, errno := unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(path)), 0, 0)
		assert.Zero(t, errno, "swapoff")
	})
}

func nullDevices(t testing.TB) []string {
	t.Helper()
	// Named by number, or since 6.0 by the directory that makes it.
	found, err := filepath.Glob("/dev/nullb*")
	require.NoError(t, err)
	if _, err := os.Stat("/dev/reflex"); err == nil {
		found = append(found, "/dev/reflex")
	}
	return found
}

func TestSweepSaysWhichControllersAreNotThere(t *testing.T) {
	root := newTree(t)
	c := openCgroups(t, root, 0)
	inside := newCgroup(t, root, "inside") // without any controller of its own
	var names []string
	for _, r := range c.Missing() {
		names = append(names, r.Name)
		assert.NotEmpty(t, r.Remedy, r.Name)
	}
	var s arc.Sweep
	require.NoError(t, c.Sweep(&s))
	for controller, fields := range map[string][]arc.CgroupField{
		"memory": {arc.CgroupMemoryUsage, arc.CgroupMemoryHigh, arc.CgroupMemoryMax, arc.CgroupMemorySwap},
		"cpu":    {arc.CgroupCPUPeriods, arc.CgroupCPUThrottledPeriods, arc.CgroupCPUThrottledTime},
		"pids":   {arc.CgroupPids, arc.CgroupPidsMax},
	} {
		assert.Equal(t, !cgroupfs.HasController(root, controller), slices.Contains(names, controller+" controller"), controller)
		for _, f := range fields {
			assert.Equal(t, arc.Absent, row(t, &s, inside, f), arc.CgroupFields[f].Name)
		}
	}
	assert.Equal(t, arc.Absent, s.Value(arc.CgroupMemoryAnon, 0), "not the sweep's to fill")
	assert.NotContains(t, names, "CPU throttling of cgroups", "every kernel here has it")
}
