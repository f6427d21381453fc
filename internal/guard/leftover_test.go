// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// flaky are attributes that cannot be read for a while.
type flaky struct {
	cgroupfs.Attributes
	fails atomic.Bool
}

func (f *flaky) Get(fd int, id uint64, name string) ([]byte, error) {
	if f.fails.Load() {
		return nil, errors.New("no memory for it")
	}
	return f.Attributes.Get(fd, id, name)
}

func TestWhatCannotBeReadAtFirstIsRestoredLater(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	act(t, g, hold(id, 130*mib))
	abandon(g)
	attributes := &flaky{Attributes: m.attrs}
	attributes.fails.Store(true)
	m.change = func(c *Config) { c.Attributes = attributes }
	g = m.guard(t)
	g.Patrol()
	require.Len(t, g.Status().Unread, 2, "the root and the cgroup")
	assert.Contains(t, g.Status().Unread[0].Cause, "no memory for it")
	assert.Equal(t, 130*mib, m.high(t, "a"))
	out := act(t, g, releaseOf(id))
	assert.Equal(t, arc.VerdictFailed, out.Verdict, "it is not said to be released")
	assert.Contains(t, out.Cause, "could not be read yet")
	require.ErrorContains(t, g.Close(), "2 cgroups could not be read")

	g = m.guard(t)
	attributes.fails.Store(false)
	g.Patrol()
	assert.Equal(t, arc.Unlimited, m.high(t, "a"))
	assert.Empty(t, m.record(id))
	assert.Empty(t, g.Status().Unread)
	require.NoError(t, g.Close())
}
