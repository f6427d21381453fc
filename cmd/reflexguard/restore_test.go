// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/guard"
)

func TestRestoreWaitsForNoGuardWithAnotherSocket(t *testing.T) {
	f := newFixture(t)
	g, err := guard.New(f.o.config(nil)) // as an embedded one: without a socket
	require.NoError(t, err)
	err = f.command(t, "restore")
	require.ErrorIs(t, err, guard.ErrLocked)
	require.ErrorContains(t, err, f.o.root)
	require.NoError(t, g.Close())
	require.NoError(t, f.command(t, "restore"))
}

func TestRestoreFailsWhereItCannotKnowWhatIsLeft(t *testing.T) {
	f := newFixture(t)
	root, err := cgroupfs.FindRoot()
	if err != nil {
		t.Skip(err)
	}
	dir, err := os.MkdirTemp(root, "reflex-restore-") //nolint:usetesting // a cgroup
	if err != nil {
		t.Skipf("no cgroup of its own: %v", err)
	}
	defer func() { require.NoError(t, os.Remove(dir)) }()
	f.o.root = dir // whose controllers nobody enabled for what is below
	require.ErrorContains(t, f.command(t, "restore"), "what is left cannot be known: memory controller is missing")
}
