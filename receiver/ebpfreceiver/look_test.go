// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/cgroupstat"
	"github.com/otelcol-reflex/reflex/internal/sources"
	"github.com/otelcol-reflex/reflex/receiver/ebpfreceiver/internal/metadata"
)

// looked is a writer whose cgroups are a tree of plain files, and a sample of
// them.
type looked struct {
	t      *testing.T
	root   *cgroupfs.Root
	writer *writer
	sample *arc.Sample
	rows   []int
}

func newLooked(t *testing.T) *looked {
	t.Helper()
	dir := t.TempDir()
	root, err := cgroupfs.OpenRoot(dir)
	require.NoError(t, err)
	t.Cleanup(func() { root.Close() })
	var starts [arc.NumNodeFields]int64
	l := &looked{t: t, root: root, sample: &arc.Sample{Sequence: 1, Taken: int64(time.Hour)}}
	for _, name := range []string{"a", "b"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
		l.write(filepath.Join(dir, name), 1)
	}
	l.writer = newWriter("1.2.3", metadata.DefaultMetricsConfig(), starts, newIdentities(root, 100))
	l.sweep()
	return l
}

// sweep fills the sample as the sampler does.
func (l *looked) sweep() {
	l.t.Helper()
	l.sample.Cgroups.Reset()
	l.rows = l.rows[:0]
	require.NoError(l.t, l.root.Walk(func(id, parent uint64, _ string) error {
		row := l.sample.Cgroups.Append(id, parent)
		l.sample.Cgroups.Set(arc.CgroupMemoryUsage, row, 1)
		l.rows = append(l.rows, row)
		return nil
	}))
}

func (l *looked) write(dir string, faults int) {
	l.t.Helper()
	text := []byte("anon 4096\nfile 0\npgfault " + strconv.Itoa(faults) + "\npgmajfault 0\n")
	require.NoError(l.t, os.WriteFile(filepath.Join(dir, "memory.stat"), text, 0o600))
}

// faults writes rows and returns the page faults that it wrote, by path.
func (l *looked) faults(sweep string, rows ...int) map[string]int64 {
	l.t.Helper()
	l.sample.Sequence++
	md := l.writer.write(l.sample, rows, sweep)
	got := map[string]int64{}
	for _, rm := range md.ResourceMetrics().All() {
		path, _ := rm.Resource().Attributes().Get(attributeCgroupPath)
		for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
			if m.Name() == "cgroup.paging.faults" {
				got[path.Str()] = m.Sum().DataPoints().At(0).IntValue()
			}
		}
	}
	return got
}

func TestAFullSweepLooksAtEveryCgroup(t *testing.T) {
	l := newLooked(t)
	want := map[string]int64{"/a": 1, "/b": 1}
	assert.Equal(t, want, l.faults(sweepFull, l.rows...))
	assert.Equal(t, want, l.faults(sweepFull, l.rows...), "however soon")
}

func TestAMoverIsLookedAtEveryTwoSeconds(t *testing.T) {
	l := newLooked(t)
	assert.Len(t, l.faults(sweepMovers, 1), 1)
	l.sweep()
	l.sample.Taken += lookInterval - 1
	assert.Empty(t, l.faults(sweepMovers, 1), "an old value is not said again")
	assert.Len(t, l.faults(sweepMovers, 2), 1, "another, at its first time")
	l.sweep()
	l.sample.Taken++
	path, err := l.root.Path(l.sample.Cgroups.ID[1])
	require.NoError(t, err)
	l.write(filepath.Join(l.root.Name(), path), 7)
	assert.Equal(t, map[string]int64{path: 7}, l.faults(sweepMovers, 1))
}

func TestACgroupAtAnothersPathIsNotTakenForIt(t *testing.T) {
	l := newLooked(t)
	require.Len(t, l.faults(sweepFull, l.rows...), 2)
	a, b := filepath.Join(l.root.Name(), "a"), filepath.Join(l.root.Name(), "b")
	require.NoError(t, os.Rename(a, filepath.Join(t.TempDir(), "a")))
	require.NoError(t, os.Rename(b, a))
	l.write(a, 9)
	assert.Empty(t, l.faults(sweepFull, l.rows...), "both paths are somebody else's now")
}

func TestWhatIsOffIsNotLookedFor(t *testing.T) {
	l := newLooked(t)
	enabled := metadata.DefaultMetricsConfig()
	enabled.CgroupMemoryAnon.Enabled = false
	enabled.CgroupMemoryFile.Enabled = false
	enabled.CgroupMemoryUnreclaimable.Enabled = false
	enabled.CgroupPagingFaults.Enabled = false
	enabled.CgroupPagingMajorFaults.Enabled = false
	var starts [arc.NumNodeFields]int64
	w := newWriter("1.2.3", enabled, starts, newIdentities(l.root, 100))
	w.write(l.sample, l.rows, sweepFull)
	assert.Equal(t, arc.Absent, l.sample.Cgroups.Value(arc.CgroupMemoryAnon, 1))
}

// What `reflexctl probe` says is looked at is what is.
func TestTheColumnsLookedAtAreThoseOfTheSources(t *testing.T) {
	for file, fields := range sources.LookedAt {
		for _, f := range fields {
			var wanted [arc.NumCgroupFields]bool
			wanted[f] = true
			assert.True(t, cgroupstat.New("/sys", wanted).Wanted(), "%s of %s", arc.CgroupFields[f].Name, file)
		}
	}
	cleared := arc.Sweep{ID: []uint64{1}, Parent: []uint64{0}} // and no columns
	cgroupstat.New("/sys", [arc.NumCgroupFields]bool{}).Clear(&cleared)
	var columns []arc.CgroupField
	for f, column := range cleared.Columns {
		if len(column) > 0 {
			columns = append(columns, arc.CgroupField(f))
		}
	}
	assert.ElementsMatch(t, slices.Concat(sources.LookedAt["memory.stat"], sources.LookedAt["io.stat"]), columns)
}
