// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
)

func TestTheDefaultLeavesAnUnprotectedServiceSeconds(t *testing.T) {
	s := Default()
	s.Base, s.Out, s.Guest = "/a", "/b", "/c"
	require.NoError(t, s.Check())
	life := float64(s.Limit) * (1 - s.Resident) / float64(s.LeakRate)
	assert.InDelta(t, 16.75, life, 0.1)

	s.Resident, s.Leak = 1, 0
	err := s.Check()
	assert.ErrorContains(t, err, "resident")
	assert.ErrorContains(t, err, "leak")
}

func TestTheConfigurationActsAndTellsInThreeSignals(t *testing.T) {
	for _, text := range []string{
		"mode: enforce", "startup_grace: 30s", "guard: ${env:DEMO_GUARD}",
		"/" + recording.MetricsFile, "/" + recording.LogsFile, "/" + recording.TracesFile,
	} {
		assert.Equal(t, 1, strings.Count(Config, text), text)
	}
}
