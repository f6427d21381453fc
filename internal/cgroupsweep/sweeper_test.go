// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package cgroupsweep

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// tree is a directory tree that looks like cgroup v2, and a clock.
type tree struct {
	t    testing.TB
	root string
	now  int64
}

func newTree(t testing.TB) *tree {
	t.Helper()
	return &tree{t: t, root: t.TempDir()}
}

func (f *tree) clock() int64 { return f.now }

func (f *tree) write(cgroup, file, text string) {
	f.t.Helper()
	dir := filepath.Join(f.root, cgroup)
	require.NoError(f.t, os.MkdirAll(dir, 0o700))
	// In place, as the kernel does: a file that is open shows what is new.
	require.NoError(f.t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600))
}

func (f *tree) id(cgroup string) uint64 {
	f.t.Helper()
	var st unix.Stat_t
	require.NoError(f.t, unix.Stat(filepath.Join(f.root, cgroup), &st))
	return st.Ino
}

func (f *tree) open(max int) *Sweeper {
	f.t.Helper()
	s, err := Open(f.root, max, f.clock)
	require.NoError(f.t, err)
	f.t.Cleanup(func() { require.NoError(f.t, s.Close()) })
	return s
}

func (f *tree) sweep(s *Sweeper, into *arc.Sweep) map[uint64]int {
	f.t.Helper()
	require.NoError(f.t, s.Sweep(into))
	rows := map[uint64]int{}
	for i, id := range into.ID {
		rows[id] = i
	}
	return rows
}

func (f *tree) service(cgroup, current string) {
	f.write(cgroup, "memory.current", current+"\n")
	f.write(cgroup, "memory.high", "max\n")
	f.write(cgroup, "memory.max", "1073741824\n")
	f.write(cgroup, "cpu.stat", "usage_usec 2500000\nuser_usec 1\nnr_periods 30\nnr_throttled 20\nthrottled_usec 700\n")
	f.write(cgroup, "memory.swap.current", "8192\n")
	f.write(cgroup, "pids.current", "17\n")
	f.write(cgroup, "pids.max", "max\n")
	f.write(cgroup, "cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=11\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n")
	f.write(cgroup, "memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=22\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=2\n")
	f.write(cgroup, "io.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=33\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n")
}

func TestARowHoldsWhatTheFilesSay(t *testing.T) {
	f := newTree(t)
	f.service("a/b", "4096")
	var into arc.Sweep
	rows := f.sweep(f.open(10), &into)

	require.Equal(t, []uint64{f.id("."), f.id("a"), f.id("a/b")}, into.ID, "parents first")
	assert.Equal(t, []uint64{0, f.id("."), f.id("a")}, into.Parent)
	b := rows[f.id("a/b")]
	for field, want := range map[arc.CgroupField]uint64{
		arc.CgroupMemoryUsage: 4096,
		arc.CgroupMemoryHigh:  arc.Unlimited,
		arc.CgroupMemoryMax:   1 << 30,
		arc.CgroupCPUTime:     2_500_000_000,

		arc.CgroupMemorySwap:          8192,
		arc.CgroupCPUPeriods:          30,
		arc.CgroupCPUThrottledPeriods: 20,
		arc.CgroupCPUThrottledTime:    700_000,
		arc.CgroupPids:                17,
		arc.CgroupPidsMax:             arc.Unlimited,

		arc.CgroupPressureCPUSome:    11_000,
		arc.CgroupPressureMemorySome: 22_000,
		arc.CgroupPressureMemoryFull: 2_000,
		arc.CgroupPressureIOSome:     33_000,
		arc.CgroupPressureIOFull:     3_000,
	} {
		assert.Equal(t, want, into.Value(field, b), arc.CgroupFields[field].Name)
		assert.Equal(t, arc.Absent, into.Value(field, 0), "the root has no such file")
	}
}

// File names, for every column, the one file without which it is absent.
func TestAColumnIsReadFromTheFileThatIsNamed(t *testing.T) {
	f := newTree(t)
	f.service("whole", "4096")
	for _, file := range fileNames {
		f.service("without-"+file, "4096")
		require.NoError(t, os.Remove(filepath.Join(f.root, "without-"+file, file)))
	}
	var into arc.Sweep
	rows := f.sweep(f.open(100), &into)
	for field := range arc.NumCgroupFields {
		name, age := File(field)
		if name == "" {
			assert.Equal(t, arc.Absent, into.Value(field, rows[f.id("whole")]), arc.CgroupFields[field].Name)
			continue
		}
		assert.Positive(t, age)
		for _, file := range fileNames {
			got := into.Value(field, rows[f.id("without-"+file)])
			assert.Equal(t, file == name, got == arc.Absent, "%s without %s", arc.CgroupFields[field].Name, file)
		}
	}
}

func TestMemoryIsReadTenTimesASecondAndTheRestOnce(t *testing.T) {
	f := newTree(t)
	f.service("a", "1")
	s := f.open(10)
	var into arc.Sweep
	rows := f.sweep(s, &into)
	a := rows[f.id("a")]

	f.write("a", "memory.current", "2\n")
	f.write("a", "memory.max", "2\n")
	f.now += int64(10 * time.Millisecond)
	f.sweep(s, &into)
	assert.Equal(t, uint64(1), into.Value(arc.CgroupMemoryUsage, a), "too early to read again")
	require.Equal(t, 2, into.Len(), "but the rows are there")

	f.now += int64(90 * time.Millisecond)
	f.sweep(s, &into)
	assert.Equal(t, uint64(2), into.Value(arc.CgroupMemoryUsage, a))
	assert.Equal(t, uint64(2), into.Value(arc.CgroupMemoryMax, a), "row 1 has its turn at the second reading")

	f.write("a", "memory.max", "3\n")
	for range slowTurns - 1 {
		f.now += int64(100 * time.Millisecond)
		f.sweep(s, &into)
		assert.Equal(t, uint64(2), into.Value(arc.CgroupMemoryMax, a))
	}
	f.now += int64(100 * time.Millisecond)
	f.sweep(s, &into)
	assert.Equal(t, uint64(3), into.Value(arc.CgroupMemoryMax, a))
}

// However slow the readings are, nothing is older than a second or one reading.
func TestSlowReadingsReadEverything(t *testing.T) {
	f := newTree(t)
	for i := range 7 {
		f.service(string(rune('a'+i)), "1")
	}
	s := f.open(10)
	var into arc.Sweep
	rows := f.sweep(s, &into)
	for tick, limit := range map[time.Duration]string{time.Second: "2\n", 10 * time.Second: "3\n"} {
		for i := range 7 {
			f.write(string(rune('a'+i)), "memory.max", limit)
		}
		f.now += int64(tick)
		f.sweep(s, &into)
		for i := range 7 {
			name := string(rune('a' + i))
			assert.Equal(t, uint64(limit[0]-'0'), into.Value(arc.CgroupMemoryMax, rows[f.id(name)]), name)
		}
	}
	for i := range 7 {
		f.write(string(rune('a'+i)), "memory.max", "4\n")
	}
	fresh := func() (n int) {
		f.now += int64(500 * time.Millisecond)
		f.sweep(s, &into)
		for i := range 7 {
			if into.Value(arc.CgroupMemoryMax, rows[f.id(string(rune('a'+i)))]) == 4 {
				n++
			}
		}
		return n
	}
	assert.Less(t, fresh(), 7, "half of them have their turns")
	assert.Equal(t, 7, fresh())
}

func TestCgroupsComeAndGoWithinASecond(t *testing.T) {
	f := newTree(t)
	f.service("a", "1")
	s := f.open(10)
	var into arc.Sweep
	f.sweep(s, &into)
	old := f.id("a")

	// Keep the inode number from being given to the newcomer at once.
	require.NoError(t, os.Rename(filepath.Join(f.root, "a"), filepath.Join(t.TempDir(), "a")))
	f.service("a", "7")
	f.now += int64(walkInterval)
	rows := f.sweep(s, &into)
	assert.NotContains(t, rows, old)
	require.Contains(t, rows, f.id("a"))
	assert.Equal(t, uint64(7), into.Value(arc.CgroupMemoryUsage, rows[f.id("a")]))
	assert.Len(t, s.known, 2, "what left is closed")
}

func TestWhatDoesNotFitIsCounted(t *testing.T) {
	f := newTree(t)
	for i := range 9 {
		f.service(fmt.Sprint("c", i), "1")
	}
	var into arc.Sweep
	f.sweep(f.open(4), &into)
	assert.Equal(t, 4, into.Len())
	assert.Equal(t, uint32(6), into.Truncated)
}

func TestAFileThatCannotBeReadIsAbsent(t *testing.T) {
	f := newTree(t)
	f.service("a", "not a number")
	f.write("a", "cpu.stat", "")
	f.write("a", "cpu.pressure", "some total=\n")
	var into arc.Sweep
	rows := f.sweep(f.open(4), &into)
	a := rows[f.id("a")]
	for _, field := range []arc.CgroupField{arc.CgroupMemoryUsage, arc.CgroupCPUTime, arc.CgroupPressureCPUSome} {
		assert.Equal(t, arc.Absent, into.Value(field, a), arc.CgroupFields[field].Name)
	}
}

func TestOpeningWhatIsNotThereNamesIt(t *testing.T) {
	_, err := Open(filepath.Join(t.TempDir(), "nowhere"), 4, func() int64 { return 0 })
	require.ErrorIs(t, err, os.ErrNotExist)
	assert.ErrorContains(t, err, "nowhere")
}

func TestAnotherCgroupAtThePathIsNotTakenForTheOneMeant(t *testing.T) {
	f := newTree(t)
	f.service("a", "1")
	assert.Nil(t, openCgroup(filepath.Join(f.root, "a"), f.id("a")+1))
}

func TestDescriptorsAreBounded(t *testing.T) {
	assert.Positive(t, affordable())
	f := newTree(t)
	assert.LessOrEqual(t, f.open(1<<30).Capacity(), 1<<20)
}

func TestASweepBetweenWalksAllocatesNothing(t *testing.T) {
	f := newTree(t)
	for i := range 50 {
		f.service(fmt.Sprint("c", i), "1")
	}
	s := f.open(100)
	var into arc.Sweep
	f.sweep(s, &into)
	s.pause = 1 << 62
	assert.Zero(t, testing.AllocsPerRun(20, func() {
		f.now += int64(100 * time.Millisecond)
		_ = s.Sweep(&into)
	}))
}

// TestTheKernelsOwnTree needs nothing but a cgroup v2 mount: files are only
// read.
func TestTheKernelsOwnTree(t *testing.T) {
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if err := unix.Statfs(root, &fs); err != nil || uint32(fs.Type) != unix.CGROUP2_SUPER_MAGIC {
			continue
		}
		clock := int64(0)
		s, err := Open(root, 4096, func() int64 { return clock })
		require.NoError(t, err)
		defer s.Close()
		var into arc.Sweep
		require.NoError(t, s.Sweep(&into))
		assert.Positive(t, into.Len())
		assert.Zero(t, into.Parent[0])
		return
	}
	t.Skip("no cgroup v2 file system is mounted where one usually is")
}
