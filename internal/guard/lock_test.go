// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
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

func TestTheKernelsCgroupsCanBeLocked(t *testing.T) {
	root, err := cgroupfs.FindRoot()
	if err != nil {
		t.Skip(err)
	}
	dir, err := os.MkdirTemp(root, "reflex-lock-")
	if err != nil {
		t.Skipf("no cgroup of its own: %v", err)
	}
	defer func() { require.NoError(t, os.Remove(dir)) }()
	unlock, err := lockRoot(dir)
	require.NoError(t, err)
	_, err = lockRoot(dir)
	require.ErrorIs(t, err, ErrLocked)
	unlock()
	unlock, err = lockRoot(dir)
	require.NoError(t, err)
	unlock()
}
