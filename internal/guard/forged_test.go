// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestARecordThatATenantCanWriteIsNotRead: who owns a cgroup may set user
// attributes on it, but no trusted ones.
func TestARecordThatATenantCanWriteIsNotRead(t *testing.T) {
	require.True(t, strings.HasPrefix(recordPrefix, "trusted."))
	require.True(t, strings.HasPrefix(handsOffRecord, "trusted."))
	m := newMachine(t)
	id := m.cgroup(t, "a")
	m.set(t, "a", "memory.high", bytesOf(200*mib))
	forged := `{"version":1,"original":"max","low":"209715200","high":"209715200","generation":1,"boot_id":"x","granted":1,"deadline":1}`
	_, err := decodeRecord(memoryHigh{}, []byte(forged))
	require.NoError(t, err, "it would be one")
	for _, prefix := range []string{"user.", ""} {
		name := prefix + strings.TrimPrefix(recordPrefix, "trusted.") + "memory.high"
		require.NoError(t, m.attrs.Set(0, id, name, []byte(forged)))
	}
	g := m.guard(t)
	g.Patrol()
	assert.Equal(t, 200*mib, m.high(t, "a"), "its limit is not lifted")
	assert.Empty(t, g.Status().Audit)

	require.NoError(t, m.attrs.Set(0, id, recordPrefix+"memory.high", []byte(forged)))
	require.NoError(t, g.Close())
	next := m.guard(t)
	assert.NotEmpty(t, next.Status().Audit, "the same record in its place is read")
}
