// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"

	"github.com/otelcol-reflex/reflex/internal/sampler"
	"github.com/otelcol-reflex/reflex/internal/sources"
)

// TestWhatTheStartTookOfMemoryGoesBackWithIt has the opening of sources leave behind
// what reading the kernel's types does, with nothing else that would collect it.
func TestWhatTheStartTookOfMemoryGoesBackWithIt(t *testing.T) {
	const types = 64 << 20
	k := &fakeKernel{}
	r := newFake(t, k, consumertest.NewNop(), nil)
	open := r.open
	r.open = func(s sources.Settings, c sampler.Clock) *sources.Sources {
		left := make([]byte, types)
		for i := 0; i < len(left); i += 4096 {
			left[i] = 1
		}
		runtime.KeepAlive(left)
		return open(s, c)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	kept := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapSys - m.HeapReleased
	}
	debug.FreeOSMemory()
	before := kept()
	require.NoError(t, r.Start(t.Context(), componenttest.NewNopHost()))
	t.Cleanup(func() { assert.NoError(t, r.Shutdown(t.Context())) })
	assert.Less(t, kept(), before+types/2, "the kernel has it back")
}
