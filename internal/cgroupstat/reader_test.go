// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package cgroupstat

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

func everything() (wanted [arc.NumCgroupFields]bool) {
	for f := range wanted {
		wanted[f] = true
	}
	return wanted
}

// look reads a cgroup with these files and returns its row.
func look(t testing.TB, r *Reader, files map[string]string) map[arc.CgroupField]uint64 {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	root, err := cgroupfs.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()

	var s arc.Sweep
	s.Append(1, 0)
	row := s.Append(root.ID(), 1)
	r.Clear(&s)
	r.Read(root.Dir(), &s, row)
	got := map[arc.CgroupField]uint64{}
	for f := range arc.NumCgroupFields {
		assert.Equal(t, arc.Absent, s.Value(f, 0), "another row: %s", arc.CgroupFields[f].Name)
		if v := s.Value(f, row); v != arc.Absent {
			got[f] = v
		}
	}
	return got
}

const memoryStat = `anon 1000
file 500
kernel 90
kernel_stack 10
pagetables 5
sec_pagetables 0
percpu 1
sock 7
vmalloc 2
shmem 200
zswap 0
file_mapped 12
inactive_anon 700
slab_reclaimable 20
slab_unreclaimable 30
slab 50
pgscan 3
pgfault 77
pgmajfault 4
pgrefill 1
`

func TestWhatTheFilesSay(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  map[arc.CgroupField]uint64
	}{
		"memory": {map[string]string{"memory.stat": memoryStat}, map[arc.CgroupField]uint64{
			arc.CgroupMemoryAnon:          1000,
			arc.CgroupMemoryFile:          500,
			arc.CgroupMemoryUnreclaimable: 1000 + 200 + 7 + 90 - 20,
			arc.CgroupPageFaults:          77,
			arc.CgroupMajorFaults:         4,
		}},
		"memory, before 5.18": {
			map[string]string{"memory.stat": "anon 1000\nfile 500\nkernel_stack 10\npercpu 1\nsock 7\nshmem 200\nslab_reclaimable 20\nslab_unreclaimable 30\npgfault 77\npgmajfault 4\n"},
			map[arc.CgroupField]uint64{
				arc.CgroupMemoryAnon:          1000,
				arc.CgroupMemoryFile:          500,
				arc.CgroupMemoryUnreclaimable: 1000 + 200 + 7 + 10 + 1 + 30,
				arc.CgroupPageFaults:          77,
				arc.CgroupMajorFaults:         4,
			},
		},
		"I/O of several devices": {
			map[string]string{"io.stat": "8:0 rbytes=4096 wbytes=100 rios=1 wios=2 dbytes=8 dios=9\n259:1 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0 cost.usage=17\n"},
			map[arc.CgroupField]uint64{
				arc.CgroupReadBytes:       4097,
				arc.CgroupWriteBytes:      102,
				arc.CgroupReadOperations:  4,
				arc.CgroupWriteOperations: 6,
			},
		},
		"no I/O yet": {map[string]string{"io.stat": ""}, map[arc.CgroupField]uint64{
			arc.CgroupReadBytes:       0,
			arc.CgroupWriteBytes:      0,
			arc.CgroupReadOperations:  0,
			arc.CgroupWriteOperations: 0,
		}},
		"no controllers":  {nil, map[arc.CgroupField]uint64{}},
		"not as expected": {map[string]string{"memory.stat": "anon\nfile x\n\npgfault -1\n"}, map[arc.CgroupField]uint64{}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.want, look(t, New(t.TempDir(), everything()), c.files))
		})
	}
}

func TestStackedDevicesAreNotCountedTwice(t *testing.T) {
	sysroot := t.TempDir()
	links := filepath.Join(sysroot, "dev", "block")
	require.NoError(t, os.MkdirAll(links, 0o755))
	for number, name := range map[string]string{"8:0": "sda", "253:0": "dm-0", "9:0": "md0", "7:1": "loop1", "1:0": "ram0"} {
		require.NoError(t, os.Symlink("../../devices/virtual/block/"+name, filepath.Join(links, number)))
	}
	var io strings.Builder
	for _, number := range []string{"8:0", "253:0", "9:0", "7:1", "1:0"} {
		io.WriteString(number + " rbytes=5 wbytes=6 rios=1 wios=1 dbytes=0 dios=0\n")
	}
	r := New(sysroot, everything())
	for range 2 { // looked up, remembered
		got := look(t, r, map[string]string{"io.stat": io.String()})
		assert.Equal(t, uint64(5), got[arc.CgroupReadBytes])
		assert.Equal(t, uint64(1), got[arc.CgroupWriteOperations])
	}
}

func TestOnlyTheFilesThatAreWantedAreRead(t *testing.T) {
	files := map[string]string{"memory.stat": memoryStat, "io.stat": "8:0 rbytes=5 wbytes=6 rios=1 wios=1\n"}
	var wanted [arc.NumCgroupFields]bool
	assert.False(t, New("/sys", wanted).Wanted())
	wanted[arc.CgroupMajorFaults] = true
	r := New("/sys", wanted)
	assert.True(t, r.Wanted())
	got := look(t, r, files)
	assert.NotContains(t, got, arc.CgroupReadBytes)
	assert.Contains(t, got, arc.CgroupMajorFaults)
}

func TestAClearedSweepRepeatsNothing(t *testing.T) {
	r := New("/sys", everything())
	var s arc.Sweep
	s.Append(1, 0)
	s.Append(2, 1)
	r.Clear(&s)
	s.Set(arc.CgroupMemoryAnon, 1, 7)
	r.Clear(&s)
	assert.Equal(t, arc.Absent, s.Value(arc.CgroupMemoryAnon, 1))
	s.Reset()
	assert.Equal(t, arc.Absent, s.Value(arc.CgroupMemoryAnon, 1))
	assert.Zero(t, testing.AllocsPerRun(10, func() { r.Clear(&s) }))
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(memoryStat))
	f.Add([]byte("8:0 rbytes=4096 wbytes=100 rios=1 wios=2 dbytes=8 dios=9\n"))
	r := New(f.TempDir(), everything())
	f.Fuzz(func(_ *testing.T, text []byte) {
		var s arc.Sweep
		s.Append(1, 0)
		parseMemory(text, &s, 0)
		r.parseIO(text, &s, 0)
	})
}

func BenchmarkRead(b *testing.B) {
	dir := b.TempDir()
	require.NoError(b, os.WriteFile(filepath.Join(dir, "memory.stat"), []byte(memoryStat), 0o600))
	require.NoError(b, os.WriteFile(filepath.Join(dir, "io.stat"), []byte("8:0 rbytes=4096 wbytes=100 rios=1 wios=2 dbytes=8 dios=9\n"), 0o600))
	root, err := cgroupfs.OpenRoot(dir)
	require.NoError(b, err)
	defer root.Close()
	r := New("/sys", everything())
	var s arc.Sweep
	s.Append(1, 0)
	r.Clear(&s)
	b.ReportAllocs()
	for b.Loop() {
		r.Read(root.Dir(), &s, 0)
	}
}
