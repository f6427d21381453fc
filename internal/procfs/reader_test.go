// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// recorded holds what testdata/proc says. What /proc cannot tell is absent.
var recorded = map[arc.NodeField]float64{
	arc.NodeCPUBusy:            (1000 + 200 + 300 + 50 + 60 + 70) / 100.0,
	arc.NodeCPUSystem:          (300 + 50 + 60) / 100.0,
	arc.NodeCPUSoftIRQ:         60 / 100.0,
	arc.NodeCPUIRQ:             50 / 100.0,
	arc.NodeContextSwitches:    987654,
	arc.NodeTasksRunnable:      2,
	arc.NodeTasksBlocked:       0,
	arc.NodeRunQueueDelay:      2,
	arc.NodePressureCPUSome:    45.886299,
	arc.NodePressureMemorySome: 1,
	arc.NodePressureMemoryFull: 0.25,
	arc.NodePressureIOSome:     3.217654,
	arc.NodePressureIOFull:     1.905922,
	arc.NodeMemoryTotal:        16000000 * 1024,
	arc.NodeMemoryUsed:         (16000000 - 8000000 - 100000 - 2000000 - 10000 - 300000) * 1024,
	arc.NodeMemoryAvailable:    11000000 * 1024,
	arc.NodePageFaults:         123456,
	arc.NodeMajorFaults:        789,
	arc.NodeDirectReclaims:     33,
	arc.NodeOOMKills:           3,
	arc.NodeSwapIn:             21,
	arc.NodeSwapOut:            34,
	arc.NodeCompactionStalls:   5,
	// A third of the free pages in blocks of each of three sizes.
	arc.NodeMemoryFragmentation: math.Log(3) / math.Log(11),
	arc.NodeForks:               4321,
	arc.NodeBlockOperations:     100 + 50 + 7 + 3 + 10 + 5,
	arc.NodeBlockTime:           (300 + 200 + 30 + 20 + 4 + 6) / 1000.0,
	arc.NodeBlockBytes:          (2000 + 1000 + 80 + 40) * 512,
	arc.NodePacketsReceived:     18310,
	arc.NodePacketsSent:         11170,
	arc.NodeBytesReceived:       776263596 + 10,
	arc.NodeBytesSent:           1006413 + 20,
	arc.NodeErrorsReceived:      2 + 1,
	arc.NodeErrorsSent:          4,
	arc.NodeDropsReceived:       3 + 6,
	arc.NodeDropsSent:           5,
	arc.NodeTCPRetransmits:      17,
	arc.NodeTCPOpens:            38,
}

func everything() (wanted [arc.NumNodeFields]bool) {
	for f := range wanted {
		wanted[f] = true
	}
	return wanted
}

func absent() (n arc.Node) {
	for f := range n {
		n[f] = math.NaN()
	}
	return n
}

func openRecorded(t testing.TB, wanted [arc.NumNodeFields]bool) *Reader {
	t.Helper()
	r := Open(filepath.Join("testdata", "proc"), filepath.Join("testdata", "sys"), wanted)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

func TestReadsEveryDimensionThatProcKnows(t *testing.T) {
	r := openRecorded(t, everything())
	require.Empty(t, r.Missing())
	n := absent()
	require.NoError(t, r.Read(&n))
	for f, got := range n {
		want, known := recorded[arc.NodeField(f)]
		name := arc.NodeFields[f].Name
		if !known {
			assert.True(t, math.IsNaN(got), "%s is not in /proc, yet reads %v", name, got)
			continue
		}
		assert.InDelta(t, want, got, 1e-6, name)
	}
}

func TestFilesTellWhatTheyFillAndHowOldItIs(t *testing.T) {
	r := openRecorded(t, everything())
	seen := map[arc.NodeField]bool{}
	for _, file := range r.Files() {
		assert.FileExists(t, file.Path)
		age := time.Duration(0)
		switch {
		case strings.Contains(file.Path, "pressure"):
			age = 2 * time.Second
		case strings.HasSuffix(file.Path, "buddyinfo"):
			age = time.Second
		}
		assert.Equal(t, age, file.Age, file.Path)
		for _, f := range file.Fields {
			assert.False(t, seen[f], arc.NodeFields[f].Name)
			seen[f] = true
			assert.Contains(t, recorded, f)
		}
	}
	assert.Len(t, seen, len(recorded))

	// A file fills no more than is wanted of it.
	var wanted [arc.NumNodeFields]bool
	wanted[arc.NodeForks] = true
	files := openRecorded(t, wanted).Files()
	require.Len(t, files, 1)
	assert.Equal(t, []arc.NodeField{arc.NodeForks}, files[0].Fields)
}

func TestTouchesOnlyWhatItWasOpenedFor(t *testing.T) {
	var wanted [arc.NumNodeFields]bool
	wanted[arc.NodeForks] = true
	r := openRecorded(t, wanted)
	assert.Len(t, r.open, 1, "one file suffices")

	n := absent()
	n[arc.NodeContextSwitches] = 7 // filled by another source, in the same file
	require.NoError(t, r.Read(&n))
	assert.InDelta(t, 4321, n[arc.NodeForks], 0)
	assert.InDelta(t, 7, n[arc.NodeContextSwitches], 0)
	assert.True(t, math.IsNaN(n[arc.NodeCPUBusy]))
}

func TestAMissingFileIsNamedAndLeavesTheRestAlone(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"stat", "meminfo"} {
		text, err := os.ReadFile(filepath.Join("testdata", "proc", name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(root, name), text, 0o600))
	}
	// What reading a PSI file answers where PSI is off: it opens, and fails.
	require.NoError(t, os.MkdirAll(filepath.Join(root, "pressure", "io"), 0o700))

	r := Open(root, t.TempDir(), everything())
	defer r.Close()
	missing := map[string]Missing{}
	for _, m := range r.Missing() {
		missing[strings.TrimPrefix(m.Path, root+"/")] = m
	}
	assert.Len(t, missing, 9)
	assert.ErrorIs(t, missing["vmstat"].Cause, os.ErrNotExist)
	assert.ErrorContains(t, missing["pressure/io"].Cause, "read "+root)
	assert.Contains(t, missing["pressure/io"].Remedy, "psi=1")
	assert.NotContains(t, missing, "stat")

	n := absent()
	require.NoError(t, r.Read(&n))
	assert.InDelta(t, 4321, n[arc.NodeForks], 0)
	assert.True(t, math.IsNaN(n[arc.NodePageFaults]))
}

func TestAFileThatFailsLaterIsReportedAndTheOthersAreRead(t *testing.T) {
	r := openRecorded(t, everything())
	dir, err := os.Open("testdata")
	require.NoError(t, err)
	defer dir.Close()
	was := r.open[0].fd
	r.open[0].fd = int(dir.Fd())
	defer func() { r.open[0].fd = was }()

	n := absent()
	assert.ErrorContains(t, r.Read(&n), filepath.Join("proc", "stat"))
	assert.True(t, math.IsNaN(n[arc.NodeForks]))
	assert.InDelta(t, 123456, n[arc.NodePageFaults], 0)
}

func TestUsedMemoryIsAbsentWhenATermOfItIs(t *testing.T) {
	n := absent()
	r := &Reader{wanted: everything()}
	r.parseMeminfo([]byte("MemTotal: 100 kB\nMemFree: 10 kB\nBuffers: 0 kB\nCached: 20 kB\n"), &n)
	assert.InDelta(t, 102400, n[arc.NodeMemoryTotal], 0)
	assert.True(t, math.IsNaN(n[arc.NodeMemoryUsed]))
}

func TestAFileLargerThanTheBufferIsReadWhole(t *testing.T) {
	root := t.TempDir()
	text := "cpu  1 0 0 0 0 0 0 0\nintr " + strings.Repeat("0 ", 3*initialBuffer/2) + "\nprocesses 77\n"
	require.NoError(t, os.WriteFile(filepath.Join(root, "stat"), []byte(text), 0o600))
	var wanted [arc.NumNodeFields]bool
	wanted[arc.NodeForks] = true
	r := Open(root, root, wanted)
	defer r.Close()
	n := absent()
	require.NoError(t, r.Read(&n))
	assert.InDelta(t, 77, n[arc.NodeForks], 0)
}

func TestReadingAllocatesNothing(t *testing.T) {
	for _, root := range []string{filepath.Join("testdata", "proc"), "/proc"} {
		r := Open(root, "/sys", everything())
		defer r.Close()
		var n arc.Node
		_ = r.Read(&n) // devices are looked up once
		assert.Zero(t, testing.AllocsPerRun(20, func() { _ = r.Read(&n) }), root)
	}
}

func TestThisMachineFillsWhatItHas(t *testing.T) {
	r := Open("/proc", "/sys", everything())
	defer r.Close()
	n := absent()
	require.NoError(t, r.Read(&n))
	for _, f := range []arc.NodeField{arc.NodeCPUBusy, arc.NodeContextSwitches, arc.NodeMemoryTotal, arc.NodeMemoryUsed, arc.NodePageFaults, arc.NodeForks} {
		assert.Positive(t, n[f], arc.NodeFields[f].Name)
	}
	assert.Less(t, n[arc.NodeMemoryUsed], n[arc.NodeMemoryTotal])
}

// A kernel that does not count what is wanted of a file is not asked for it at
// every tick.
func TestAFileThatHoldsNothingWantedIsMissing(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(root, "vmstat"), []byte("pgfault 7\n"), 0o600))
	var wanted [arc.NumNodeFields]bool
	wanted[arc.NodeSwapIn] = true
	r := Open(root, root, wanted)
	defer r.Close()
	assert.Empty(t, r.open)
	require.Len(t, r.Missing(), 1)
	assert.ErrorIs(t, r.Missing()[0].Cause, errNothing)
}

func TestFreeMemoryIsLookedAtOnceASecond(t *testing.T) {
	root := t.TempDir()
	file := filepath.Join(root, "buddyinfo")
	even, one := []byte("Node 0, zone Normal 2 1\n"), []byte("Node 0, zone Normal 0 1\n")
	require.NoError(t, os.WriteFile(file, even, 0o600))
	var wanted [arc.NumNodeFields]bool
	wanted[arc.NodeMemoryFragmentation] = true
	r := Open(root, root, wanted)
	defer r.Close()
	now := int64(time.Hour)
	r.now = func() int64 { return now }
	fragmentation := func() float64 {
		n := absent()
		require.NoError(t, r.Read(&n))
		return n[arc.NodeMemoryFragmentation]
	}
	assert.InDelta(t, 1, fragmentation(), 1e-9)
	require.NoError(t, os.WriteFile(file, one, 0o600))
	now += int64(900 * time.Millisecond)
	assert.InDelta(t, 1, fragmentation(), 1e-9, "repeated")
	now += int64(100 * time.Millisecond)
	assert.InDelta(t, 0, fragmentation(), 1e-9, "looked at again")
}

// FuzzParsers feeds every parser with text that no kernel writes.
func FuzzParsers(f *testing.F) {
	for i := range sources {
		text, err := os.ReadFile(filepath.Join("testdata", "proc", sources[i].path))
		require.NoError(f, err)
		f.Add(text)
		f.Add(text[:len(text)/2])
	}
	r := &Reader{wanted: everything(), devices: map[device]bool{}, sysroot: f.TempDir()}
	f.Fuzz(func(t *testing.T, text []byte) {
		n := absent()
		for i := range sources {
			sources[i].parse(r, text, &n)
		}
		for i, v := range n {
			if v < 0 { // NaN is none
				t.Fatalf("%s is negative: %v", arc.NodeFields[i].Name, v)
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	r := Open("/proc", "/sys", everything())
	defer r.Close()
	var n arc.Node
	b.ReportAllocs()
	for b.Loop() {
		_ = r.Read(&n)
	}
}
