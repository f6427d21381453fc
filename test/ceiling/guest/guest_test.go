// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/test/ceiling"
)

func TestPressureIsReadFromTheLineThatCounts(t *testing.T) {
	n, err := fullTotal("some avg10=1.00 avg60=0.00 avg300=0.00 total=77\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=42\n")
	require.NoError(t, err)
	assert.EqualValues(t, 42, n)
	_, err = fullTotal("some avg10=1.00 total=77\n")
	assert.Error(t, err)
}

func TestLatenessIsBeyondThePeriod(t *testing.T) {
	turns := []int64{0}
	for range 200 {
		turns = append(turns, turns[len(turns)-1]+int64(watchPeriod)+3e6)
	}
	assert.InDelta(t, 3, lateness(turns), 1e-9)
	assert.Zero(t, lateness(nil))
}

func TestSettingsThatMeasureNothingAreRefused(t *testing.T) {
	s := Settings{Base: "/a", Out: "/b", Self: "/c", Collector: "/d", Guard: "/e", Load: ceiling.DefaultLoad()}
	require.NoError(t, s.Check())
	s.Load.Resident, s.Guard = s.Load.Limit, ""
	err := s.Check()
	assert.ErrorContains(t, err, "guard")
	assert.ErrorContains(t, err, "limit")
}
