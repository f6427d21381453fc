// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/test/containment"
	"github.com/otelcol-reflex/reflex/test/containment/crash"
)

func TestTheCrashMatrixOfThisRevisionIsTaken(t *testing.T) {
	s := &suite{Options: Options{Output: t.TempDir(), Revision: "v1", Kills: 40}}
	r := crash.Report{Revision: "v1", Kills: 200, Missed: []string{"a"}, Violations: []crash.Violation{{}}, Simulated: &crash.Simulated{Steps: 10_000, Violations: 1}}
	require.NoError(t, r.Write(s.Output))
	c, err := s.crash(t.Context())
	require.NoError(t, err)
	assert.Equal(t, &containment.Crash{Steps: 10_000, Kills: 200, Violations: 2, Missed: 1}, c)
	assert.True(t, named("f1d10e2"))
	for _, revision := range []string{"unknown", "dirty", "f1d10e2-dirty"} {
		assert.False(t, named(revision), "another tree may have that name")
	}
}
