// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// The containment suite measures tick to knob by these lines: renewals are in no
// journal.
func TestEveryAnswerIsLoggedForWhoeverDebugs(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	b := newBench(t, enforce)
	b.r.logger = zap.New(core)
	b.assemble()
	o := arc.Order{Cgroup: 5, Action: arc.ActionMemoryHigh, Parameter: 7, Scheduled: 1_000_000}
	b.r.executor.act(t.Context(), o)
	b.r.executor.act(t.Context(), o)
	lines := logs.FilterMessage("order answered").All()
	require.Len(t, lines, 2)
	assert.Equal(t, map[string]any{
		"cgroup": uint64(5), "action": "memory.high", "verb": "hold", "verdict": "held",
		"scheduled_ns": int64(1_000_000), "sent_ns": b.now.Load(), "written_ns": int64(1_001_000), "answered_ns": b.now.Load(),
	}, lines[1].ContextMap())

	quiet, logs := observer.New(zapcore.InfoLevel)
	b.r.logger = zap.New(quiet)
	b.r.executor.act(t.Context(), o)
	assert.Zero(t, logs.Len())
}
