// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReflexIsReadyWhenItCanAct(t *testing.T) {
	const (
		acting  = `{"mode":{"requested":"enforce","effective":"enforce"},"level":1,"input":{"sequence":7,"judge":"mahalanobis"},"judgement":{"distance":3.5,"limit":9},"missing":[]}`
		guarded = `{"mode":{"requested":"enforce","effective":"observe"},"problem":"the guard does not answer","input":{"sequence":7,"judge":"m"},"missing":[{"name":"reflexguard","cause":"connection refused"}]}`
		silent  = `{"mode":{"effective":"enforce"},"input":{"sequence":0,"judge":"m"}}`
		unheard = `{"mode":{"effective":"enforce"},"input":{"sequence":7}}`
	)
	read := func(text string) *Status {
		var s Status
		require.NoError(t, json.Unmarshal([]byte(text), &s))
		return &s
	}
	s := read(acting)
	require.NoError(t, s.Ready())
	distance, limit, ok := s.Score()
	assert.Equal(t, []any{3.5, 9.0, true}, []any{distance, limit, ok})

	assert.EqualError(t, read(guarded).Ready(), `the collector is in mode "observe": reflexguard (connection refused); the guard does not answer`)
	assert.ErrorContains(t, read(silent).Ready(), "no sample")
	assert.ErrorContains(t, read(unheard).Ready(), "nobody judges")
	_, _, ok = read(unheard).Score()
	assert.False(t, ok, "no judgement is not a score of zero")
}
