// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package arc

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEveryFieldIsDescribedOnce(t *testing.T) {
	seen := map[string]bool{}
	check := func(t *testing.T, f Field) {
		t.Helper()
		assert.NotEmpty(t, f.Name)
		assert.NotEmpty(t, f.Unit, f.Name)
		assert.NotEmpty(t, f.Help, f.Name)
		assert.False(t, seen[f.Name], "%s is described twice", f.Name)
		seen[f.Name] = true
	}
	for _, f := range NodeFields {
		check(t, f)
	}
	for _, f := range CgroupFields {
		check(t, f)
	}
}

func TestEveryNameIsKnown(t *testing.T) {
	for a := ActionNone; a < NumActions; a++ {
		assert.NotEmpty(t, a.String())
		parsed, known := ParseAction(a.String())
		assert.Equal(t, a != ActionNone, known, a.String())
		assert.True(t, !known || parsed == a, a.String())
	}
	for v := VerdictNone; v < numVerdicts; v++ {
		assert.NotEmpty(t, v.String())
	}
	assert.Equal(t, "unknown", NumActions.String())
	assert.Equal(t, "unknown", numVerdicts.String())
}

func TestSweepMissingIsNotZero(t *testing.T) {
	var s Sweep
	i := s.Append(7, 1)
	assert.Equal(t, Absent, s.Value(CgroupMemoryUsage, i))
	s.Set(CgroupMemoryUsage, i, 0)
	assert.Equal(t, uint64(0), s.Value(CgroupMemoryUsage, i))

	s.Columns[CgroupCPUTime] = nil
	assert.Equal(t, Absent, s.Value(CgroupCPUTime, i), "a column the source cannot fill")
}

func TestSweepIsReusedWithoutAllocation(t *testing.T) {
	var s Sweep
	fill := func() {
		s.Reset()
		for id := uint64(1); id <= 1000; id++ {
			s.Set(CgroupMemoryUsage, s.Append(id, 1), id)
		}
	}
	fill()
	require.Equal(t, 1000, s.Len())
	assert.Zero(t, testing.AllocsPerRun(10, fill))
	assert.Equal(t, Absent, s.Value(CgroupMemoryMax, 999), "a reused row starts absent")
}

func TestControlWordPublishesSnapshots(t *testing.T) {
	var w ControlWord
	assert.Equal(t, Control{}, w.Load(), "nothing asked for yet")

	c := Control{Interval: 10, FrozenUntil: 50, Harm: true}
	w.Store(c)
	assert.Equal(t, c, w.Load())
	assert.Zero(t, testing.AllocsPerRun(10, func() { w.Store(c); _ = w.Load() }), "an unchanged word allocates nothing")
}

func TestControlFreezesUntilAnInstantOrWhileALeaseIsHeld(t *testing.T) {
	assert.True(t, Control{FrozenUntil: 50}.Frozen(49))
	assert.False(t, Control{FrozenUntil: 50}.Frozen(50))
	assert.True(t, Control{LeaseHeld: true}.Frozen(50))
}
