// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Machines that measure run alone, others beside their like.
func TestALockIsSharedByThoseThatSaySo(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	try := func(beside bool) (unlock func(), waited bool) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		unlock, err := lock(ctx, "test", beside, func() { waited = true; cancel() })
		if waited {
			require.ErrorIs(t, err, context.Canceled)
			return nil, true
		}
		require.NoError(t, err)
		return unlock, false
	}
	one, waited := try(true)
	require.False(t, waited)
	another, waited := try(true)
	require.False(t, waited, "beside its like")
	_, waited = try(false)
	assert.True(t, waited, "alone, while others run")
	one()
	_, waited = try(false)
	assert.True(t, waited, "alone, while another runs")
	another()
	alone, waited := try(false)
	require.False(t, waited)
	_, waited = try(true)
	assert.True(t, waited, "beside one that is alone")
	alone()
}
