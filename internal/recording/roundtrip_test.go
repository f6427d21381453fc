// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// machine makes samples of a machine whose cgroups come and go.
type machine struct {
	random *rand.Rand
	sample arc.Sample
	// kept are the cgroups that there are, with their values.
	kept   []identity
	values map[identity]*[arc.NumCgroupFields]uint64
}

func newMachine(seed uint64) *machine {
	m := &machine{random: rand.New(rand.NewPCG(seed, 1)), values: map[identity]*[arc.NumCgroupFields]uint64{}}
	m.sample = arc.Sample{Source: "ebpf", Interval: 1e8, Scheduled: 5e12, Taken: 5e12, WallTime: 1.8e18}
	for f := range m.sample.Node {
		m.sample.Node[f] = float64(m.random.IntN(1e9))
	}
	return m
}

// tick makes the next sample, valid until the one after it.
func (m *machine) tick() *arc.Sample {
	s := &m.sample
	s.Missed = 0
	if m.chance(10) {
		s.Missed = m.random.Uint32N(5)
	}
	if m.chance(20) {
		s.Interval = 1e7 + 9e7*int64(m.random.IntN(2))
	}
	s.Sequence += 1 + m.random.Uint64N(2)
	s.Scheduled += s.Interval * (1 + int64(s.Missed))
	s.Taken = s.Scheduled + m.random.Int64N(1e6)
	s.WallTime += s.Interval + m.random.Int64N(2001) - 1000
	if m.chance(5) { // somebody set the clock
		s.WallTime += m.random.Int64N(1e14) - 5e13
	}
	for f := range s.Node {
		s.Node[f] = m.float(s.Node[f])
	}
	m.comeAndGo()
	m.sweep()
	return s
}

func (m *machine) chance(percent int) bool { return m.random.IntN(100) < percent }

// float is what a value of the node may be after v.
func (m *machine) float(v float64) float64 {
	switch m.random.IntN(12) {
	case 0:
		return math.NaN()
	case 1:
		return math.Float64frombits(m.random.Uint64())
	case 2:
		return []float64{0, math.Copysign(0, -1), math.Inf(1), math.Inf(-1), math.MaxFloat64, math.SmallestNonzeroFloat64, 1 << 61, -1 << 61}[m.random.IntN(8)]
	case 3, 4, 5:
		return float64(m.random.Uint64N(1<<62)) / 1e9
	case 6:
		return float64(m.random.IntN(1e9)) / 1e6
	}
	if math.IsNaN(v) {
		v = 0
	}
	return v + float64(m.random.IntN(1000))
}

// whole is what a value of a cgroup may be after v.
func (m *machine) whole(v uint64) uint64 {
	switch m.random.IntN(10) {
	case 0:
		return arc.Absent
	case 1:
		return arc.Unlimited
	case 2:
		return m.random.Uint64()
	case 3, 4:
		return v + m.random.Uint64N(1e6)
	case 5:
		return v - m.random.Uint64N(1e6)
	}
	return v
}

func (m *machine) comeAndGo() {
	for m.chance(30) {
		parent := uint64(0)
		if n := len(m.kept); n > 0 && !m.chance(10) {
			parent = m.kept[m.random.IntN(n)].id
		}
		if m.chance(2) {
			parent = m.random.Uint64() // somebody who is not in the sweep
		}
		c := identity{m.random.Uint64N(1 << 40), parent}
		m.kept = slices.Insert(m.kept, m.random.IntN(len(m.kept)+1), c)
		m.values[c] = &[arc.NumCgroupFields]uint64{}
	}
	for len(m.kept) > 0 && m.chance(20) {
		i := m.random.IntN(len(m.kept))
		m.kept = slices.Delete(m.kept, i, i+1)
	}
	if m.chance(2) {
		m.kept = m.kept[:0]
	}
}

func (m *machine) sweep() {
	sweep := &m.sample.Cgroups
	sweep.Reset()
	sweep.Truncated = m.random.Uint32N(2)
	for _, c := range m.kept {
		row := sweep.Append(c.id, c.parent)
		for f := range arc.NumCgroupFields {
			m.values[c][f] = m.whole(m.values[c][f])
			sweep.Set(f, row, m.values[c][f])
		}
	}
	if m.chance(10) { // a source that cannot fill a column
		sweep.Columns[m.random.IntN(int(arc.NumCgroupFields))] = nil
	}
}

// named names cgroups as a source does that does not know all of them.
func named(id uint64) string {
	if id%5 == 0 {
		return ""
	}
	return fmt.Sprintf("/system.slice/%d.service", id)
}

// clone is a copy of s that shares nothing with it.
func clone(s *arc.Sample) *arc.Sample {
	c := *s
	c.Cgroups.ID, c.Cgroups.Parent = slices.Clone(s.Cgroups.ID), slices.Clone(s.Cgroups.Parent)
	for f := range c.Cgroups.Columns {
		c.Cgroups.Columns[f] = slices.Clone(s.Cgroups.Columns[f])
	}
	return &c
}

// difference says in which respect got is not want, bit by bit; "" in none.
func difference(want, got *arc.Sample) string {
	switch {
	case want.Source != got.Source || want.Sequence != got.Sequence || want.WallTime != got.WallTime ||
		want.Scheduled != got.Scheduled || want.Taken != got.Taken || want.Interval != got.Interval || want.Missed != got.Missed:
		return fmt.Sprintf("times: %+v, want %+v", got, want)
	case want.Cgroups.Truncated != got.Cgroups.Truncated:
		return "truncated"
	case !slices.Equal(want.Cgroups.ID, got.Cgroups.ID) || !slices.Equal(want.Cgroups.Parent, got.Cgroups.Parent):
		return fmt.Sprintf("cgroups: %v, want %v", got.Cgroups.ID, want.Cgroups.ID)
	}
	for f, v := range want.Node {
		if g := got.Node[f]; math.Float64bits(v) != math.Float64bits(g) && !(math.IsNaN(v) && math.IsNaN(g)) {
			return fmt.Sprintf("%s: %v, want %v", arc.NodeFields[f].Name, g, v)
		}
	}
	for row := range want.Cgroups.ID {
		for f := range arc.NumCgroupFields {
			if v, g := want.Cgroups.Value(f, row), got.Cgroups.Value(f, row); v != g {
				return fmt.Sprintf("row %d, %s: %d, want %d", row, arc.CgroupFields[f].Name, g, v)
			}
		}
	}
	return ""
}

// written is a recording of n ticks, a block each few of them.
func written(t require.TestingT, seed uint64, n, perBlock int) ([]byte, []*arc.Sample) {
	var out bytes.Buffer
	w, err := NewWriter(&out, Description{Source: "ebpf", Started: 1, Interval: 1e8})
	require.NoError(t, err)
	m := newMachine(seed)
	var samples []*arc.Sample
	for i := range n {
		s := m.tick()
		samples = append(samples, clone(s))
		require.NoError(t, w.Write(s, named))
		if (i+1)%perBlock == 0 {
			require.NoError(t, w.Flush())
		}
	}
	require.NoError(t, w.Close())
	require.EqualValues(t, out.Len(), w.Size())
	return out.Bytes(), samples
}

// readAll reads ticks until there are no more, and compares each with what it
// should be.
func readAll(file []byte, want []*arc.Sample) (ticks int, wrong string, err error) {
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		return 0, "", err
	}
	defer r.Close()
	var s arc.Sample
	for {
		if err := r.Next(&s); err != nil {
			return ticks, "", err
		}
		if ticks >= len(want) {
			return ticks, "too many ticks", nil
		}
		if wrong := difference(want[ticks], &s); wrong != "" {
			return ticks, fmt.Sprintf("tick %d: %s", ticks, wrong), nil
		}
		for _, id := range s.Cgroups.ID {
			if r.Path(id) != named(id) {
				return ticks, fmt.Sprintf("tick %d: cgroup %d is called %q", ticks, id, r.Path(id)), nil
			}
		}
		ticks++
	}
}

func TestWhatIsReadIsWhatWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(t, "ticks")
		perBlock := rapid.IntRange(1, 12).Draw(t, "ticks in a block")
		seed := rapid.Uint64().Draw(t, "seed")
		file, samples := written(t, seed, n, perBlock)
		ticks, wrong, err := readAll(file, samples)
		if wrong != "" || !errors.Is(err, io.EOF) || ticks != n {
			t.Fatalf("%d of %d ticks: %s %v", ticks, n, wrong, err)
		}
	})
}

func TestAWholeNumberIsAFewBytes(t *testing.T) {
	for _, tt := range []struct {
		name     string
		decimals int
		values   []float64
		size     int
	}{
		{"a counter of nanoseconds", 9, []float64{1234.567890123, 1234.567890223}, 8},
		{"seconds of a clock of a hundred ticks", 9, []float64{98765.43, 98765.44}, 12},
		{"bytes that do not change", 0, []float64{2 << 30, 2 << 30, 2 << 30}, 8},
		{"more nanoseconds than a float can count", 9, []float64{float64(1<<60+12345) / 1e9, float64(1<<60+99999) / 1e9}, 13},
		{"no whole number", 0, []float64{math.Pi}, 9},
		{"nothing", 9, []float64{math.NaN()}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newNumber(tt.decimals)
			var b []byte
			for _, v := range tt.values {
				b = c.append(b, v)
			}
			assert.LessOrEqual(t, len(b), tt.size)
			s := stream(b)
			c = newNumber(tt.decimals)
			for _, v := range tt.values {
				got, err := c.read(&s)
				require.NoError(t, err)
				assert.Equal(t, math.Float64bits(v), math.Float64bits(got))
			}
			assert.Empty(t, s)
		})
	}
}
