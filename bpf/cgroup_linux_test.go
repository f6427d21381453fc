// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

var trees atomic.Int32

// newTree makes a cgroup of the test's own, removed with what is in it.
func newTree(tb testing.TB) string {
	tb.Helper()
	mount, err := cgroupfs.FindRoot()
	unable(tb, err)
	root := filepath.Join(mount, fmt.Sprintf("reflex-test-%d-%d", os.Getpid(), trees.Add(1)))
	if err := os.Mkdir(root, 0o755); err != nil {
		if mustRun() {
			tb.Fatal(err)
		}
		tb.Skip(err)
	}
	tb.Cleanup(func() {
		var all []string
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				all = append(all, path)
			}
			return nil
		})
		slices.Reverse(all) // children first
		for _, path := range all {
			assert.NoError(tb, unix.Rmdir(path))
		}
	})
	return root
}

func newCgroup(tb testing.TB, parent, name string) string {
	tb.Helper()
	path := filepath.Join(parent, name)
	require.NoError(tb, os.Mkdir(path, 0o755))
	return path
}

func openCgroups(tb testing.TB, root string, max int) *Cgroups {
	tb.Helper()
	c, err := OpenCgroups(root, max)
	unable(tb, err)
	tb.Cleanup(func() { require.NoError(tb, c.Close()) })
	return c
}

func id(t testing.TB, path string) uint64 {
	t.Helper()
	var stat unix.Stat_t
	require.NoError(t, unix.Stat(path, &stat))
	return stat.Ino
}

func parse(t testing.TB, digits string) uint64 {
	t.Helper()
	v, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 64)
	require.NoError(t, err)
	return v
}

// startIn starts a spinner in the cgroup at path.
func startIn(t testing.TB, path string, span time.Duration) *exec.Cmd {
	t.Helper()
	directory, err := os.Open(path)
	require.NoError(t, err)
	defer directory.Close()
	return startSpinner(t, span, int(directory.Fd()))
}

// cpuTime reads cpu.stat, which makes the kernel add everything up.
func cpuTime(t testing.TB, path string) uint64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path, "cpu.stat"))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(text), "usage_usec ")
	line, _, _ := strings.Cut(rest, "\n")
	return parse(t, line) * 1000
}

// row returns column f of the cgroup at path.
func row(t testing.TB, s *arc.Sweep, path string, f arc.CgroupField) uint64 {
	t.Helper()
	i := slices.Index(s.ID, id(t, path))
	require.GreaterOrEqual(t, i, 0, "%s is not in the sweep", path)
	return s.Value(f, i)
}

func TestSweepListsCgroupsParentsFirst(t *testing.T) {
	root := newTree(t)
	a := newCgroup(t, root, "a")
	b := newCgroup(t, a, "b")
	c := newCgroup(t, root, "c")
	var s arc.Sweep
	require.NoError(t, openCgroups(t, root, 0).Sweep(&s))
	assert.Equal(t, 4, s.Len())
	assert.Zero(t, s.Truncated)
	assert.Equal(t, id(t, root), s.ID[0])
	parents := map[uint64]uint64{}
	for i := range s.ID {
		parents[s.ID[i]] = s.Parent[i]
		assert.True(t, i == 0 || slices.Contains(s.ID[:i], s.Parent[i]), "parents come first")
	}
	assert.Equal(t, map[uint64]uint64{
		id(t, root): 0, id(t, a): id(t, root), id(t, b): id(t, a), id(t, c): id(t, root),
	}, parents)
}

func TestSweepOfTheWholeHierarchy(t *testing.T) {
	inside := newCgroup(t, newTree(t), "inside")
	mount, err := cgroupfs.FindRoot()
	require.NoError(t, err)
	var s arc.Sweep
	require.NoError(t, openCgroups(t, mount, 0).Sweep(&s))
	assert.Equal(t, uint64(0), s.Parent[0])
	assert.Contains(t, s.ID, id(t, inside))
	assert.InEpsilon(t, cpuTime(t, mount), s.Value(arc.CgroupCPUTime, 0), 0.05, "the root's time is the system's")
}

func TestSweepSeesCPUTimeBeforeTheKernelAddsItUp(t *testing.T) {
	root := newTree(t)
	parent := newCgroup(t, root, "parent")
	child := newCgroup(t, parent, "child")
	c := openCgroups(t, root, 0)
	var s arc.Sweep
	const span = 300 * time.Millisecond
	const late = 20e6 // the end of a task's exit may be charged after its parent knows
	for range 2 {     // the second time, part of it has been added up before
		before := cpuTime(t, child)
		require.NoError(t, startIn(t, child, span).Wait())
		require.NoError(t, c.Sweep(&s))
		live := row(t, &s, child, arc.CgroupCPUTime)
		lives := row(t, &s, parent, arc.CgroupCPUTime)
		after := cpuTime(t, child)
		assert.Greater(t, live-before, uint64(span.Nanoseconds()*9/10))
		assert.InDelta(t, after, live, late, "as the kernel counts it, flushed")
		assert.InDelta(t, live, lives, late, "the parent's time includes the child's")
		assert.InDelta(t, live, row(t, &s, root, arc.CgroupCPUTime), late)
	}
	require.NoError(t, c.Sweep(&s))
	assert.InDelta(t, cpuTime(t, root), row(t, &s, root, arc.CgroupCPUTime), late, "not counted twice once flushed")
}

func TestSweepSeesPressureLive(t *testing.T) {
	root := newTree(t)
	if _, err := os.Stat(filepath.Join(root, "cpu.pressure")); err != nil {
		t.Skip(err)
	}
	pressed, idle := newCgroup(t, root, "pressed"), newCgroup(t, root, "idle")
	c := openCgroups(t, root, 0)
	const span = 700 * time.Millisecond
	load := []*exec.Cmd{startIn(t, pressed, 20*time.Second), startIn(t, pressed, 20*time.Second)}
	var s arc.Sweep
	total := func() uint64 {
		text, err := os.ReadFile(filepath.Join(pressed, "cpu.pressure"))
		require.NoError(t, err)
		some, _, _ := strings.Cut(string(text), "\n")
		return pressureTotal([]byte(some)) * 1000
	}
	last, early := uint64(0), uint64(0)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(span); time.Now().Before(end); <-tick.C {
		require.NoError(t, c.Sweep(&s))
		now := row(t, &s, pressed, arc.CgroupPressureCPUSome)
		require.NotEqual(t, arc.Absent, now)
		require.GreaterOrEqual(t, now, last, "went back")
		last = now
		if early == 0 {
			early = now
		}
		assert.Zero(t, row(t, &s, idle, arc.CgroupPressureCPUSome))
	}
	kernel := total()
	for _, l := range load {
		stop(t, l)
	}
	t.Logf("kernel %d, here %d to %d ns", kernel, early, last)
	assert.Greater(t, last-early, uint64(100*time.Millisecond), "the kernel adds up every 2 s only")
	assert.InDelta(t, kernel, last, 40e6+0.1*float64(kernel))
}

func TestSweepReadsMemory(t *testing.T) {
	root := newTree(t)
	c := openCgroups(t, root, 0)
	mount := filepath.Dir(root)
	controllers, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	require.NoError(t, err)
	var s arc.Sweep
	if !slices.Contains(strings.Fields(string(controllers)), "memory") {
		require.NoError(t, c.Sweep(&s))
		for _, f := range []arc.CgroupField{arc.CgroupMemoryUsage, arc.CgroupMemoryHigh, arc.CgroupMemoryMax} {
			assert.Equal(t, arc.Absent, s.Value(f, 0), arc.CgroupFields[f].Name)
		}
		names := []string{}
		for _, r := range c.Missing() {
			names = append(names, r.Name)
		}
		assert.Contains(t, names, "memory controller")
		t.Logf("%s has no memory controller", mount)
		return
	}
	require.NoError(t, os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+memory"), 0))
	child := newCgroup(t, root, "child")
	const high = 64 << 20
	require.NoError(t, os.WriteFile(filepath.Join(child, "memory.high"), []byte(strconv.Itoa(high)), 0))
	load := startIn(t, child, 300*time.Millisecond)
	require.Eventually(t, func() bool {
		require.NoError(t, c.Sweep(&s))
		usage := row(t, &s, child, arc.CgroupMemoryUsage)
		return usage > 0 && usage < high
	}, 5*time.Second, 10*time.Millisecond)
	assert.Equal(t, uint64(high), row(t, &s, child, arc.CgroupMemoryHigh))
	assert.Equal(t, arc.Unlimited, row(t, &s, child, arc.CgroupMemoryMax))
	require.NoError(t, load.Wait())
	require.NoError(t, c.Sweep(&s))
	text, err := os.ReadFile(filepath.Join(child, "memory.current"))
	require.NoError(t, err)
	// Charges are batched per CPU.
	assert.InDelta(t, parse(t, string(text)), row(t, &s, child, arc.CgroupMemoryUsage), 2<<20)
}

func TestSweepOfAThousandCgroupsIsOnePass(t *testing.T) {
	root, all := thousand(t)
	var s arc.Sweep
	require.NoError(t, openCgroups(t, root, 0).Sweep(&s))
	assert.Equal(t, len(all)+1, s.Len())
	assert.Zero(t, s.Truncated)
	for _, path := range all {
		assert.Contains(t, s.ID, id(t, path))
	}

	require.NoError(t, openCgroups(t, root, 100).Sweep(&s))
	assert.Equal(t, 100, s.Len())
	assert.Equal(t, uint32(len(all)+1-100), s.Truncated)
}

// thousand makes 40 cgroups with 25 in each.
func thousand(t testing.TB) (root string, all []string) {
	t.Helper()
	root = newTree(t)
	for i := range 40 {
		pod := newCgroup(t, root, fmt.Sprint("pod", i))
		all = append(all, pod)
		for j := range 25 {
			all = append(all, newCgroup(t, pod, fmt.Sprint("container", j)))
		}
	}
	return root, all
}

func TestSweepNeverGoesBack(t *testing.T) {
	root := newTree(t)
	c := openCgroups(t, root, 0)
	var s arc.Sweep
	require.NoError(t, c.Sweep(&s))
	const ahead = uint64(1e9) // as if the last sweep had estimated more
	c.history.values[0][0] = ahead
	require.NoError(t, c.Sweep(&s))
	assert.Equal(t, ahead, s.Value(counters[0], 0))
}

func TestSweepFollowsComingAndGoing(t *testing.T) {
	root := newTree(t)
	c := openCgroups(t, root, 0)
	a := newCgroup(t, root, "a")
	var s arc.Sweep
	require.NoError(t, c.Sweep(&s))
	require.Equal(t, 2, s.Len())
	b := newCgroup(t, root, "b")
	require.NoError(t, unix.Rmdir(a))
	require.NoError(t, c.Sweep(&s))
	assert.Equal(t, []uint64{id(t, root), id(t, b)}, s.ID)
}

func TestSweepOfARemovedCgroupIsAnError(t *testing.T) {
	root := newTree(t)
	inside := filepath.Join(root, "inside")
	require.NoError(t, os.Mkdir(inside, 0o755))
	c := openCgroups(t, inside, 0)
	require.NoError(t, unix.Rmdir(inside))
	var s arc.Sweep
	require.ErrorIs(t, c.Sweep(&s), fs.ErrNotExist)
	assert.Zero(t, s.Len())
}

func TestOpenCgroupsRefusesAPlainDirectory(t *testing.T) {
	_, err := OpenCgroups(t.TempDir(), 0)
	require.ErrorContains(t, err, "not in a cgroup v2 hierarchy")
	_, err = OpenCgroups(filepath.Join(t.TempDir(), "nowhere"), 0)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestSweepDoesNotAllocate(t *testing.T) {
	root, _ := thousand(t)
	c := openCgroups(t, root, 0)
	var s arc.Sweep
	assert.Zero(t, testing.AllocsPerRun(20, func() {
		if err := c.Sweep(&s); err != nil {
			t.Error(err)
		}
	}))
}

// reportCPU reports the CPU time of the process between now and its result's
// call, which a busy machine changes less than the time on the clock.
func reportCPU(b *testing.B) func() {
	b.Helper()
	used := func() int64 {
		var u unix.Rusage
		require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
		return u.Utime.Nano() + u.Stime.Nano()
	}
	before := used()
	return func() { b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/op") }
}

// equip gives every cgroup of thousand the controllers that a sweep reads, as
// far as the machine has them on cgroup v2.
func equip(tb testing.TB, root string, all []string) {
	tb.Helper()
	for _, controller := range []string{"memory", "cpu", "pids"} {
		if !cgroupfs.HasController(root, controller) {
			continue
		}
		for _, path := range append([]string{root}, all...) {
			control := filepath.Join(path, "cgroup.subtree_control")
			require.NoError(tb, os.WriteFile(control, []byte("+"+controller), 0))
		}
	}
}

func BenchmarkSweepThousand(b *testing.B) {
	root, all := thousand(b)
	equip(b, root, all)
	c := openCgroups(b, root, 0)
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

// What a sweep replaces: three files of each cgroup, kept open.
func BenchmarkCgroupfsThousand(b *testing.B) {
	root, all := thousand(b)
	var files []*os.File
	for _, path := range append(all, root) {
		for _, name := range []string{"cpu.stat", "cpu.pressure", "memory.pressure"} {
			f, err := os.Open(filepath.Join(path, name))
			if err != nil {
				b.Skip(err)
			}
			defer f.Close()
			files = append(files, f)
		}
	}
	buffer := make([]byte, 4096)
	b.ReportAllocs()
	defer reportCPU(b)()
	for b.Loop() {
		for _, f := range files {
			if n, _ := f.ReadAt(buffer, 0); n == 0 {
				b.Fatal("nothing read")
			}
		}
	}
}
