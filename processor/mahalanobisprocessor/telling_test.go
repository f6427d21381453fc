// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mahalanobisprocessor

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
	"github.com/otelcol-reflex/reflex/processor/mahalanobisprocessor/internal/metadatatest"
)

// told is a judge and an engine that says what it was told to.
type told struct {
	reader
	says arc.Judgement
}

func (k *told) Step(_ detect.Instant, _ []float64, _ arc.Control, j *arc.Judgement) { *j = k.says }

func (k *told) Judge(s *arc.Sample, _ arc.Control, j *arc.Judgement) {
	*j = k.says
	j.Sequence = s.Sequence
}

func TestAPlateauIsToldOfWithItsResourceAndRegime(t *testing.T) {
	r := remember(t, host{storageID: newMemory()}, nil)
	core, logs := observer.New(zap.DebugLevel)
	r.logger = zap.New(core)
	k := &told{says: arc.Judgement{Ready: true, Fresh: true, Accepted: true, Regime: 2}}
	r.streams.judge = func(detect.Config) judge { return k }
	r.see("a")
	k.says.Accepted = false
	r.see("a")
	all := logs.FilterMessage("new plateau accepted as normal").All()
	require.Len(t, all, 1)
	assert.Equal(t, map[string]any{"regime": int8(2), "resource": map[string]any{"name": "a"}}, all[0].ContextMap())
	r.counted(metadatatest.AssertEqualProcessorMahalanobisPlateausAccepted, 1)
	require.NoError(t, r.shutdown(context.Background()))
}

func TestAPlateauOfATickThatWasLostIsToldOfAllTheSame(t *testing.T) {
	meets := &meeting{}
	p, _ := created(t, createDefaultConfig().(*Config))
	core, logs := observer.New(zap.DebugLevel)
	p.logger = zap.New(core)
	require.NoError(t, p.start(context.Background(), host{reflexID: meets}))
	k := &told{says: arc.Judgement{Ready: true, Fresh: true, Accepted: true, Regime: 3}}
	p.shared.registration.engine = k
	src := newTicks()
	meets.Observe(src.next(), new(arc.Judgement))
	k.says.Accepted = false
	for range 3 {
		meets.Observe(src.next(), new(arc.Judgement))
		_, err := p.process(context.Background(), src.metrics())
		require.NoError(t, err)
	}
	all := logs.FilterMessage("new plateau accepted as normal").All()
	require.Len(t, all, 1)
	assert.Equal(t, int8(3), all[0].ContextMap()["regime"])
	require.NoError(t, p.shutdown(context.Background()))
}

func TestAnExtrapolatedLimitIsToldOfOnceAStream(t *testing.T) {
	r := remember(t, host{storageID: newMemory()}, nil)
	core, logs := observer.New(zap.DebugLevel)
	r.logger = zap.New(core)
	k := &told{says: arc.Judgement{Fresh: true, Extrapolated: true}}
	r.streams.judge = func(detect.Config) judge { return k }
	r.see("a")
	assert.Empty(t, logs.All(), "not ready")
	k.says.Ready = true
	for range 3 {
		r.see("a", "b")
	}
	assert.Equal(t, 2, logs.Len())
	assert.Equal(t, zap.DebugLevel, logs.All()[0].Level)
	require.NoError(t, r.shutdown(context.Background()))
}
