// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

var update = flag.Bool("update", false, "write the golden recording anew")

// calm is a machine of n cgroups on which little happens.
func calm(n int) (s *arc.Sample, tick func()) {
	s = &arc.Sample{Source: "ebpf", Interval: 1e8, Scheduled: 5e12, Taken: 5e12, WallTime: 1.8e18}
	for i := range n {
		row := s.Cgroups.Append(uint64(1000+i), 1000)
		for f := range arc.NumCgroupFields {
			s.Cgroups.Set(f, row, uint64(f)*1e6)
		}
		s.Cgroups.Set(arc.CgroupMemoryMax, row, arc.Unlimited)
	}
	return s, func() {
		s.Sequence++
		s.Scheduled += s.Interval
		s.Taken, s.WallTime = s.Scheduled+30_000, s.WallTime+s.Interval
		for f := range s.Node {
			s.Node[f] += 0.001
		}
		if n > 0 {
			s.Cgroups.Columns[arc.CgroupCPUTime][int(s.Sequence)%n] += 12345
		}
	}
}

func TestARecordingIsNeverLongerThanItsLimit(t *testing.T) {
	for _, limit := range []int64{3_000, 20_000, 50_000} {
		var out bytes.Buffer
		w, err := NewWriter(&out, Description{})
		require.NoError(t, err)
		w.Limit(limit)
		m := newMachine(4)
		var samples []*arc.Sample
		for err == nil {
			s := m.tick()
			samples = append(samples, clone(s))
			if err = w.Write(s, named); err == nil && len(samples)%5 == 0 {
				err = w.Flush()
			}
		}
		require.ErrorIs(t, err, ErrFull)
		require.ErrorIs(t, w.Write(m.tick(), named), ErrFull, "nothing follows a gap")
		require.NoError(t, w.Close(), "what is full can be closed")
		assert.LessOrEqual(t, int64(out.Len()), limit)
		for _, s := range samples {
			s.Source = ""
		}
		ticks, wrong, err := readAll(out.Bytes(), samples)
		assert.Empty(t, wrong)
		require.ErrorIs(t, err, io.EOF)
		assert.EqualValues(t, w.Ticks(), ticks)
		assert.Equal(t, len(samples)-5, ticks, "all but the block for which there was no room")
	}
}

func TestABlockEndsAfterTenSeconds(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, Description{})
	require.NoError(t, err)
	s, tick := calm(3)
	for range 302 {
		tick()
		require.NoError(t, w.Write(s, nil))
	}
	require.NoError(t, w.Close())
	assert.Len(t, blocksOf(out.Bytes()), 1+3+1+1, "header, 101, 101 and 100 ticks, end")
	assert.ErrorIs(t, w.Write(s, nil), errClosed)
}

func TestMemoryIsBoundedHoweverMuchHappens(t *testing.T) {
	m := newMachine(5)
	for name, id := range map[string]func(n int) uint64{
		"ids that cost much":   func(int) uint64 { return m.random.Uint64() },
		"ids that cost little": func(n int) uint64 { return uint64(n) },
	} {
		t.Run(name, func(t *testing.T) {
			w, err := NewWriter(io.Discard, Description{})
			require.NoError(t, err)
			s, tick := calm(4000)
			s.Interval = 1 // so that time ends no block
			clear(s.Cgroups.Parent)
			for f := range s.Cgroups.Columns {
				clear(s.Cgroups.Columns[f])
			}
			for n := range 100 {
				tick()
				for i := range s.Cgroups.ID {
					s.Cgroups.ID[i] = id(4000*n + i) // everybody is new, every time
				}
				require.NoError(t, w.Write(s, nil))
				require.Less(t, w.builder.size, blockSize)
				require.Less(t, len(w.builder.table), maxRows)
				require.LessOrEqual(t, len(w.builder.before)+len(w.builder.paths), 2*maxTable)
			}
		})
	}
}

func TestAtRestATickAllocatesNothing(t *testing.T) {
	w, err := NewWriter(io.Discard, Description{})
	require.NoError(t, err)
	s, tick := calm(200)
	path := func(uint64) string { return "/a" }
	for range 400 {
		tick()
		require.NoError(t, w.Write(s, path))
	}
	assert.Less(t, testing.AllocsPerRun(300, func() {
		tick()
		_ = w.Write(s, path)
	}), 1.0)
}

func TestAPathIsWrittenOnce(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, Description{})
	require.NoError(t, err)
	s, tick := calm(50)
	const name = "/kubepods.slice/some-rather-long-name-of-a-service"
	blocks := []int64{}
	for range 3 {
		tick()
		before := w.Size()
		require.NoError(t, w.Write(s, func(id uint64) string { return fmt.Sprint(name, id*id) }))
		require.NoError(t, w.Flush())
		blocks = append(blocks, w.Size()-before)
	}
	assert.Less(t, blocks[1], blocks[0]-50, "the second block names nobody again")
	require.NoError(t, w.Close())
	r, err := NewReader(&out)
	require.NoError(t, err)
	var got arc.Sample
	for range 3 {
		require.NoError(t, r.Next(&got))
		assert.Equal(t, fmt.Sprint(name, 1049*1049), r.Path(1049))
	}
}

func TestColumnsAreFoundByName(t *testing.T) {
	node := append([]Column{{Name: "system.later", Unit: "1", Kind: "gauge"}}, NodeColumns()...)
	node[1].Unit = "min"                 // cpu busy, but not as we know it
	node = append(node[:4], node[5:]...) // without one that we know
	cgroup := append(CgroupColumns(), Column{Name: "cgroup.later", Unit: "By", Kind: "gauge"})
	h := newHeader(Description{Source: "ebpf"}, node, cgroup)
	h.Minor = 9
	var out bytes.Buffer
	w, err := newWriter(&out, h)
	require.NoError(t, err)
	w.builder.streams = append(w.builder.streams, []byte("a stream of a later version"))
	m := newMachine(6)
	m.sample.Missed = 0
	var want []*arc.Sample
	for i := range 8 {
		s := m.tick()
		values := append([]float64{42}, s.Node[:]...)
		values = append(values[:4], values[5:]...)
		columns := append(s.Cgroups.Columns[:], make([]uint64, s.Cgroups.Len()))
		require.NoError(t, w.write(momentOf(s), values, &s.Cgroups, columns, named))
		c := clone(s)
		c.Node[0], c.Node[3] = math.NaN(), math.NaN()
		want = append(want, c)
		if i == 3 {
			require.NoError(t, w.Flush())
			require.NoError(t, w.packer.block('n', []byte("a note of a later version")))
		}
	}
	require.NoError(t, w.Close())
	ticks, wrong, err := readAll(out.Bytes(), want)
	assert.Empty(t, wrong)
	require.ErrorIs(t, err, io.EOF)
	assert.Equal(t, 8, ticks)
	r, err := NewReader(&out)
	require.NoError(t, err)
	names := []string{}
	for _, c := range r.Unknown() {
		names = append(names, c.Name)
	}
	assert.Equal(t, []string{"system.later", "system.cpu.busy.time", "cgroup.later"}, names)
	assert.Equal(t, 9, r.Header().Minor)
}

func TestALaterVersionIsRefused(t *testing.T) {
	var out bytes.Buffer
	h := newHeader(Description{}, nil, nil)
	h.Major = 2
	_, err := newWriter(&out, h)
	require.NoError(t, err)
	_, err = NewReader(&out)
	require.ErrorIs(t, err, ErrUnsupported)
	require.ErrorContains(t, err, "it is 2.0, this program reads 1")

	out.Reset()
	w, err := NewWriter(&out, Description{})
	require.NoError(t, err)
	require.NoError(t, w.packer.block('X', nil))
	_, _, err = readAll(out.Bytes(), nil)
	require.ErrorIs(t, err, ErrUnsupported)
	require.ErrorContains(t, err, "'X'")
}

// The golden recording was written by version 1.0, and every later version reads
// it.
func TestTheFirstVersionIsReadForever(t *testing.T) {
	path := filepath.Join("testdata", "version1.rfx")
	text := filepath.Join("testdata", "version1.txt")
	if *update {
		file, _ := written(t, 12, 12, 5)
		require.NoError(t, os.WriteFile(path, file, 0o600))
		require.NoError(t, os.WriteFile(text, []byte(describe(t, file)), 0o600))
	}
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	want, err := os.ReadFile(text)
	require.NoError(t, err)
	assert.Equal(t, string(want), describe(t, file))
}

// describe writes a recording as text, those columns that there were in version 1.
func describe(t require.TestingT, file []byte) string {
	r, err := NewReader(bytes.NewReader(file))
	require.NoError(t, err)
	var b strings.Builder
	h := r.Header()
	fmt.Fprintf(&b, "%s %d.%d of %s, %d and %d columns\n", h.Format, h.Major, h.Minor, h.Source, len(h.Node), len(h.Cgroup))
	nodeFields, _ := match(h.Node, NodeColumns())
	cgroupFields, _ := match(h.Cgroup, CgroupColumns())
	var s arc.Sample
	for {
		err := r.Next(&s)
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			return b.String()
		}
		fmt.Fprintf(&b, "tick %d wall %d scheduled %d taken %d interval %d missed %d truncated %d\n",
			s.Sequence, s.WallTime, s.Scheduled, s.Taken, s.Interval, s.Missed, s.Cgroups.Truncated)
		for i, f := range nodeFields {
			require.GreaterOrEqual(t, f, 0, h.Node[i].Name)
			fmt.Fprintf(&b, " %s=%v", h.Node[i].Name, s.Node[f])
		}
		b.WriteByte('\n')
		for row, id := range s.Cgroups.ID {
			fmt.Fprintf(&b, " cgroup %d in %d %q:", id, s.Cgroups.Parent[row], r.Path(id))
			for _, f := range cgroupFields {
				fmt.Fprintf(&b, " %d", s.Cgroups.Value(arc.CgroupField(f), row))
			}
			b.WriteByte('\n')
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, n := range []int{0, 200, 1000} {
		b.Run(fmt.Sprintf("%d cgroups", n), func(b *testing.B) {
			w, err := NewWriter(io.Discard, Description{})
			require.NoError(b, err)
			s, tick := calm(n)
			b.ReportAllocs()
			for b.Loop() {
				tick()
				if err := w.Write(s, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(w.Size())/float64(w.Ticks()), "bytes/tick")
		})
	}
}
