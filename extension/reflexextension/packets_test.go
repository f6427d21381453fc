// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/otelcol-reflex/reflex/extension/reflexextension/internal/metadata"
	"github.com/otelcol-reflex/reflex/extension/reflexextension/internal/metadatatest"
	"github.com/otelcol-reflex/reflex/internal/guard"
)

func TestJudgedPacketsAreToldOverAllGuards(t *testing.T) {
	tt := componenttest.NewTelemetry()
	tel, err := metadata.NewTelemetryBuilder(tt.NewTelemetrySettings())
	require.NoError(t, err)
	var p packets
	require.NoError(t, tel.RegisterReflexPacketsCallback(p.observe))
	of := func(dropped, passed uint64) []guard.NetworkCount {
		return []guard.NetworkCount{
			{Action: "network.shield", Reason: "dropped.source", Packets: dropped}, {Action: "network.shield", Reason: "passed.session", Packets: passed},
		}
	}
	p.take(of(100, 5))
	p.take(of(150, 5))
	p.take(of(20, 9)) // by another guard, which has passed as many and four
	p.take(nil)
	point := func(reason string, n int64) metricdata.DataPoint[int64] {
		return metricdata.DataPoint[int64]{
			Attributes: attribute.NewSet(attribute.String("reflex.action", "network.shield"), attribute.String("reflex.reason", reason)), Value: n,
		}
	}
	metadatatest.AssertEqualReflexPackets(t, tt, []metricdata.DataPoint[int64]{point("dropped.source", 170), point("passed.session", 9)}, metricdatatest.IgnoreTimestamp())
	require.NoError(t, tt.Shutdown(t.Context()))
}

func TestTheGuardIsAskedWhatItHasJudged(t *testing.T) {
	b := newBench(t, nil)
	b.wire.judged = []guard.NetworkCount{{Action: "network.throttle", Reason: "dropped.rate", Packets: 7}}
	b.start()
	b.r.executor.probe(t.Context())
	b.r.executor.packets.mu.Lock()
	defer b.r.executor.packets.mu.Unlock()
	require.Equal(t, map[guard.NetworkCount]uint64{{Action: "network.throttle", Reason: "dropped.rate"}: 7}, b.r.executor.packets.total)
}
