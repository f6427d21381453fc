// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/cgroupsweep"
	"github.com/otelcol-reflex/reflex/internal/sampler"
)

// expected is what is known beforehand of a kernel: the names of requirements that
// are not met and of dimensions that nobody fills. The tests of the kernel matrix
// (test/vmtest) say it as JSON in REFLEX_TEST_EXPECTED.
type expected struct {
	Missing []string `json:"missing"`
	Absent  []string `json:"absent"`
	// Iterator says that cgroups are swept by BPF and not by reading files.
	Iterator bool `json:"iterator"`
}

// looked are the dimensions of a cgroup that no sweep fills: the receiver looks
// for them in files.
var looked = []arc.CgroupField{
	arc.CgroupMemoryAnon, arc.CgroupMemoryFile, arc.CgroupMemoryUnreclaimable, arc.CgroupPageFaults, arc.CgroupMajorFaults,
	arc.CgroupReadBytes, arc.CgroupWriteBytes, arc.CgroupReadOperations, arc.CgroupWriteOperations,
}

// What this kernel gives and what it does not is as expected, neither less, which
// would be a loss that nobody notices, nor more, which would be a document that
// is wrong.
func TestTheKernelGivesWhatIsExpectedOfIt(t *testing.T) {
	text := os.Getenv("REFLEX_TEST_EXPECTED")
	if text == "" {
		t.Skip("REFLEX_TEST_EXPECTED is not set: nothing is known of this kernel")
	}
	var want expected
	require.NoError(t, json.Unmarshal([]byte(text), &want))
	mount, err := cgroupfs.FindRoot()
	require.NoError(t, err)
	child := newChild(t, newHierarchy(t, mount), "child", nil)

	s := Open(Settings{
		MaxCgroups: 64, Syscalls: DutyCycle{Window: 20 * time.Millisecond, Period: time.Second},
		CgroupNetwork: os.Getenv(ownMachine) != "", // at the root, where everybody pays
	}, new(sampler.SystemClock))
	defer s.Names.Close()
	defer s.Close()
	missing := []string{}
	for _, m := range s.Missing {
		t.Logf("missing: %s: %s; %s", m.Name, m.Cause, m.Remedy)
		assert.NotEmpty(t, m.Cause, m.Name)
		assert.NotEmpty(t, m.Remedy, m.Name)
		missing = append(missing, m.Name)
	}
	assert.ElementsMatch(t, want.Missing, missing)
	_, files := s.Cgroups.(*cgroupsweep.Sweeper)
	assert.Equal(t, want.Iterator, !files, "how cgroups are swept: %T", s.Cgroups)

	var n arc.Node
	require.Eventually(t, func() bool { // the first window of system calls has to pass
		n = absent()
		return s.Node.Read(&n) == nil && !math.IsNaN(n[arc.NodeSyscallRate])
	}, 20*time.Second, 20*time.Millisecond)
	nobody := []string{}
	for f, v := range n {
		if math.IsNaN(v) {
			nobody = append(nobody, arc.NodeFields[f].Name)
		}
	}
	var sweep arc.Sweep
	require.NoError(t, s.Cgroups.Sweep(&sweep))
	row := slices.Index(sweep.ID, idOf(t, child))
	require.GreaterOrEqual(t, row, 0)
	for f := range arc.NumCgroupFields {
		if sweep.Value(f, row) == arc.Absent && !slices.Contains(looked, f) {
			nobody = append(nobody, arc.CgroupFields[f].Name)
		}
	}
	assert.ElementsMatch(t, want.Absent, nobody)
}

func idOf(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Stat(path, &st))
	return st.Ino
}

// inFile is what a file of a cgroup says of a dimension.
type inFile struct {
	file, key string
	unit      uint64 // a unit of the file in those of the dimension
}

// gauges are compared while nothing moves, and must be the file's number exactly.
var gauges = map[arc.CgroupField]inFile{
	arc.CgroupMemoryUsage: {"memory.current", "", 1},
	arc.CgroupMemorySwap:  {"memory.swap.current", "", 1},
	arc.CgroupMemoryHigh:  {"memory.high", "", 1},
	arc.CgroupMemoryMax:   {"memory.max", "", 1},
	arc.CgroupPids:        {"pids.current", "", 1},
	arc.CgroupPidsMax:     {"pids.max", "", 1},
}

// counters must lie between what the file said a second and a half before and
// what it says now: they are read once a second.
var counters = map[arc.CgroupField]inFile{
	arc.CgroupCPUTime:             {"cpu.stat", "usage_usec", 1000},
	arc.CgroupCPUPeriods:          {"cpu.stat", "nr_periods", 1},
	arc.CgroupCPUThrottledPeriods: {"cpu.stat", "nr_throttled", 1},
	arc.CgroupCPUThrottledTime:    {"cpu.stat", "throttled_usec", 1000},
	arc.CgroupPressureCPUSome:     {"cpu.pressure", "some", 1000},
	arc.CgroupPressureMemorySome:  {"memory.pressure", "some", 1000},
	arc.CgroupPressureMemoryFull:  {"memory.pressure", "full", 1000},
	arc.CgroupPressureIOSome:      {"io.pressure", "some", 1000},
	arc.CgroupPressureIOFull:      {"io.pressure", "full", 1000},
}

// read reads the number of a cgroup.
func (f inFile) read(t *testing.T, path string) uint64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path, f.file))
	require.NoError(t, err)
	if f.key != "" {
		if v, ok := cgroupfs.Keyed(text, f.key); ok {
			return v * f.unit
		}
		_, text, _ = bytes.Cut(text, []byte(f.key+" "))
		_, text, _ = bytes.Cut(text, []byte("total="))
		text, _, _ = bytes.Cut(text, []byte("\n"))
	}
	v, ok := cgroupfs.ParseUint(text)
	require.True(t, ok, "%s: %s", f.file, text)
	if v == arc.Unlimited {
		return v
	}
	return v * f.unit
}

// stalest is the age that a value of a sweep by files may have: a second, and half
// of one for a machine that is busy with the load.
const stalest = 1500 * time.Millisecond

// The sweep by files, as Open opens it where there is no iterator, against the
// files themselves, under loads of the test's own.
func TestASweepByFilesAgreesWithTheFilesUnderLoad(t *testing.T) {
	if os.Getenv(ownMachine) == "" {
		t.Skipf("%s is not set: the machine must be the test's own", ownMachine)
	}
	mount, err := cgroupfs.FindRoot()
	require.NoError(t, err)
	root := newHierarchy(t, mount)
	swapOn(t)
	high := strconv.Itoa(loadMemory / 2)
	busy := newChild(t, root, "busy", map[string]string{"pids.max": "77"})
	quota := newChild(t, root, "quota", map[string]string{"cpu.max": "20000 100000"})
	swapped := newChild(t, root, "swapped", map[string]string{"memory.high": high})
	thrashing := newChild(t, root, "thrashing", map[string]string{"memory.high": high, "memory.max": strconv.Itoa(2 * loadMemory)})
	empty := newChild(t, root, "empty", nil)
	startLoad(t, swapped, "hold")
	startLoad(t, busy, "spin")
	startLoad(t, busy, "spin")
	startLoad(t, quota, "spin")
	startLoad(t, thrashing, "thrash")

	s := openFiles(t, root)
	names := map[string]string{root: "all", busy: "busy", quota: "quota", swapped: "swapped", thrashing: "thrashing", empty: "empty"}
	first := sweepFor(t, s, 0)
	sweepFor(t, s, 3*time.Second) // of load
	before := map[string]map[arc.CgroupField]uint64{}
	for path := range names {
		before[path] = map[arc.CgroupField]uint64{}
		for f, file := range counters {
			before[path][f] = file.read(t, path)
		}
	}
	last := sweepFor(t, s, stalest)
	grown := func(path string, f arc.CgroupField) time.Duration {
		return time.Duration(valueOf(t, last, path, f) - valueOf(t, first, path, f))
	}
	for path, name := range names {
		for f, file := range counters {
			here := valueOf(t, last, path, f)
			now := file.read(t, path)
			t.Logf("%s of %s: %d to %d, here %d", arc.CgroupFields[f].Name, name, before[path][f], now, here)
			assert.GreaterOrEqual(t, here, before[path][f], "%s of %s", arc.CgroupFields[f].Name, name)
			assert.LessOrEqual(t, here, now, "%s of %s", arc.CgroupFields[f].Name, name)
		}
	}
	// And the load is what it should be.
	const some = 50 * time.Millisecond
	assert.Greater(t, grown(busy, arc.CgroupCPUTime), 4*some)
	assert.Greater(t, grown(busy, arc.CgroupPressureCPUSome), 4*some)
	assert.Greater(t, grown(quota, arc.CgroupCPUThrottledTime), 4*some)
	for _, f := range []arc.CgroupField{arc.CgroupPressureMemorySome, arc.CgroupPressureMemoryFull, arc.CgroupPressureIOSome, arc.CgroupPressureIOFull} {
		assert.Greater(t, valueOf(t, last, thrashing, f), uint64(some), arc.CgroupFields[f].Name)
		assert.Zero(t, valueOf(t, last, empty, f), arc.CgroupFields[f].Name)
	}

	for _, path := range []string{busy, quota, swapped, empty} {
		for f, file := range gauges {
			value := settled(t, s, path, f, file)
			t.Logf("%s of %s: %d", arc.CgroupFields[f].Name, names[path], value)
			switch {
			case f == arc.CgroupMemorySwap && path == swapped:
				assert.Greater(t, value, uint64(loadMemory/4))
			case f == arc.CgroupMemoryUsage && path == swapped:
				assert.Greater(t, value, uint64(loadMemory/4))
			case f == arc.CgroupPids && path == busy:
				assert.GreaterOrEqual(t, value, uint64(2), "two processes, threads counted")
			}
		}
	}
}

// openFiles opens what a sweep by files reads: what Open opens, unless the kernel
// has something better.
func openFiles(t *testing.T, root string) sampler.CgroupReader {
	t.Helper()
	set := Settings{CgroupRoot: root, MaxCgroups: 64}
	s := Open(set, new(sampler.SystemClock))
	t.Cleanup(func() { assert.NoError(t, s.Names.Close()) })
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	if files, ok := s.Cgroups.(*cgroupsweep.Sweeper); ok {
		return files
	}
	files, err := cgroupsweep.Open(set.CgroupRoot, set.MaxCgroups, new(sampler.SystemClock).Now)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, files.Close()) })
	return files
}

// sweepFor sweeps as the sampler does, ten times a second, and returns the last
// sweep.
func sweepFor(t *testing.T, s sampler.CgroupReader, span time.Duration) *arc.Sweep {
	t.Helper()
	var into arc.Sweep
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(span); ; <-tick.C {
		require.NoError(t, s.Sweep(&into))
		if time.Now().After(end) {
			return &into
		}
	}
}

func valueOf(t *testing.T, s *arc.Sweep, path string, f arc.CgroupField) uint64 {
	t.Helper()
	row := slices.Index(s.ID, idOf(t, path))
	require.GreaterOrEqual(t, row, 0, "%s is not in the sweep", path)
	return s.Value(f, row)
}

// settled sweeps until the file says the same before and after and the sweep, too.
func settled(t *testing.T, s sampler.CgroupReader, path string, f arc.CgroupField, file inFile) uint64 {
	t.Helper()
	var into arc.Sweep
	var before, here, after uint64
	require.Eventually(t, func() bool {
		before = file.read(t, path)
		require.NoError(t, s.Sweep(&into))
		here = valueOf(t, &into, path, f)
		after = file.read(t, path)
		return before == after && here == after
	}, 10*time.Second, 100*time.Millisecond, "%s of %s: file %d, here %d, file %d", arc.CgroupFields[f].Name, path, before, here, after)
	return here
}
