// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// thousand is a tick with 1,000 cgroups that all move a little.
func thousand(tb testing.TB) (*bench, func()) {
	tb.Helper()
	b := newBench(tb, nil)
	b.assemble()
	s := &b.sample
	for id := uint64(1); id <= 1000; id++ {
		i := s.Cgroups.Append(id, id/32)
		s.Cgroups.Set(arc.CgroupMemoryUsage, i, 100*mb)
		s.Cgroups.Set(arc.CgroupMemoryMax, i, 4000*mb)
	}
	usage := s.Cgroups.Columns[arc.CgroupMemoryUsage]
	tick := func() {
		s.Sequence++
		s.Taken = b.now.Add(1e8)
		s.Scheduled, s.Interval = s.Taken, 1e8
		for i := range usage {
			usage[i] += uint64(i % 7 * 4096)
		}
		b.r.Observe(s, &b.judged)
	}
	for range 200 {
		tick()
	}
	return b, tick
}

func TestOneTickWithAThousandCgroupsDoesNotAllocate(t *testing.T) {
	_, tick := thousand(t)
	assert.Zero(t, testing.AllocsPerRun(100, tick))
}

func BenchmarkObserve1000Cgroups(b *testing.B) {
	_, tick := thousand(b)
	b.ReportAllocs()
	for b.Loop() {
		tick()
	}
}

func TestMailboxKeepsTheNewestOrderOfACgroup(t *testing.T) {
	m := newMailbox()
	for i := range uint64(3 * mailboxSize) {
		m.post(arc.Order{Cgroup: 1 + i%(mailboxSize+1), Action: arc.ActionMemoryHigh, Parameter: i})
	}
	assert.Equal(t, int64(2), m.dropped.Load())
	seen := map[uint64]bool{}
	for o, ok := m.take(); ok; o, ok = m.take() {
		assert.False(t, seen[o.Cgroup])
		seen[o.Cgroup] = true
		m.done(&o)
		assert.Greater(t, o.Parameter, uint64(mailboxSize))
	}
	assert.Len(t, seen, mailboxSize)
	assert.Zero(t, testing.AllocsPerRun(100, func() { m.post(arc.Order{Cgroup: 5}) }))
}

func TestOrdersAboutOneCgroupAreCarriedOutInTurn(t *testing.T) {
	m := newMailbox()
	for _, o := range []arc.Order{
		{Cgroup: 1, Action: arc.ActionCPUIdle}, {Cgroup: 1, Action: arc.ActionCPUWeight}, {Cgroup: 2, Action: arc.ActionMemoryHigh}, {Cgroup: 3, Action: arc.ActionMemoryHigh},
	} {
		m.post(o)
	}
	take := func() arc.Order {
		t.Helper()
		o, ok := m.take()
		require.True(t, ok)
		return o
	}
	<-m.wake
	first := take()
	assert.Equal(t, arc.ActionCPUIdle, first.Action)
	require.Len(t, m.wake, 1, "another is told that there are more")
	second := take()
	assert.Equal(t, uint64(2), second.Cgroup, "one about another cgroup need not wait")
	_, ok := m.take()
	assert.False(t, ok, "so many at a time")
	<-m.wake
	m.done(&second)
	require.Len(t, m.wake, 1)
	third := take()
	assert.Equal(t, uint64(3), third.Cgroup, "the first is still being carried out")
	m.done(&first)
	assert.Equal(t, arc.ActionCPUWeight, take().Action)
}

func TestAnswersDropTheOldest(t *testing.T) {
	var a answers
	for i := range uint64(answersSize + 10) {
		a.post(arc.Order{Cgroup: i}, arc.Outcome{})
	}
	first, ok := a.take()
	require.True(t, ok)
	assert.Equal(t, uint64(10), first.order.Cgroup)
}
