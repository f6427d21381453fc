// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"context"
	"maps"
	"os"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/otelcol-reflex/reflex/internal/sampler"
	"github.com/otelcol-reflex/reflex/receiver/ebpfreceiver/internal/metadata"
)

// setting is a number from the environment.
func setting(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, name)
	require.Positive(t, n, name)
	return n
}

// cycle starts a receiver as a collector does, waits for its first delivery, and
// shuts it down. It returns what was held in between.
func cycle(t *testing.T, interval time.Duration) held {
	t.Helper()
	delivered := make(chan struct{}, 1)
	next := consume(func(context.Context, pmetric.Metrics) error {
		select {
		case delivered <- struct{}{}:
		default:
		}
		return nil
	})
	cfg := createDefaultConfig().(*Config)
	cfg.Interval = interval
	ctx := context.Background()
	r, err := NewFactory().CreateMetrics(ctx, receivertest.NewNopSettings(metadata.Type), cfg, next)
	require.NoError(t, err)
	require.NoError(t, r.Start(ctx, componenttest.NewNopHost()))
	<-delivered
	h := holding(t)
	require.NoError(t, r.Shutdown(ctx))
	return h
}

// REFLEX_CYCLES makes it as many as wanted; `make soak-sensing` a thousand.
func TestStartAndShutdownLeakNothing(t *testing.T) {
	needBPF(t)
	n := setting(t, "REFLEX_CYCLES", 24)
	// One that nothing wakes, and one that looks for what might.
	intervals := [...]time.Duration{sampler.FastestInterval, sampler.WakeInterval + 10*time.Millisecond}
	for _, interval := range intervals {
		requireGone(t, cycle(t, interval).objects) // what is made once for the process is made now
	}
	before := holding(t)
	objects := map[string]bool{}
	kinds := map[string]int{}
	for i := range n {
		// What is not closed would be by the garbage collector, sooner or later.
		percent := debug.SetGCPercent(-1)
		during := cycle(t, intervals[i%len(intervals)])
		requireAsBefore(t, before)
		debug.SetGCPercent(percent)
		for object := range during.objects {
			assert.False(t, objects[object], "%s is there for a second time", object)
			kinds[object[:3]]++
		}
		maps.Copy(objects, during.objects)
		if (i+1)%100 == 0 {
			t.Logf("%d cycles, %d objects", i+1, len(objects))
		}
	}
	assert.Greater(t, kinds["pro"], n, "programs were loaded")
	assert.Greater(t, kinds["map"], n, "and maps")
	assert.Greater(t, kinds["lin"], n, "and links")
	requireGone(t, objects)
	t.Logf("%d cycles made and put away %d programs, %d maps, %d links", n, kinds["pro"], kinds["map"], kinds["lin"])
}
