// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOneGuardARoot(t *testing.T) {
	m := newMachine(t)
	g := m.guard(t)
	_, err := New(m.config())
	require.ErrorIs(t, err, ErrLocked)
	require.ErrorContains(t, err, m.dir)
	require.NoError(t, g.Close())
	require.NoError(t, m.guard(t).Close())
}

func TestAGuardThatCanLockNothingStillStarts(t *testing.T) {
	m := newMachine(t)
	config := m.config()
	blocked := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(blocked, nil, 0o600))
	config.KillSwitch = filepath.Join(blocked, "off")
	g, err := New(config)
	require.NoError(t, err)
	require.NoError(t, g.Close())
}
