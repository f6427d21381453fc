// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/otelcol-reflex/reflex/extension/reflexextension/internal/metadata"
	"github.com/otelcol-reflex/reflex/extension/reflexextension/internal/metadatatest"
)

func TestSelfTelemetry(t *testing.T) {
	tt := componenttest.NewTelemetry()
	defer func() { require.NoError(t, tt.Shutdown(context.Background())) }()
	b := newBench(t, enforce)
	tel, err := metadata.NewTelemetryBuilder(metadatatest.NewSettings(tt).TelemetrySettings)
	require.NoError(t, err)
	b.r.tel = tel
	b.assemble()
	require.NoError(t, b.r.register())
	b.leak()
	b.run(3 * time.Second)
	(&watchdog{r: b.r}).look(context.Background())

	metadatatest.AssertEqualReflexLevel(t, tt, []metricdata.DataPoint[int64]{{Value: 2}}, metricdatatest.IgnoreTimestamp())
	metadatatest.AssertEqualReflexEpisodes(t, tt, []metricdata.DataPoint[int64]{{Value: 1}}, metricdatatest.IgnoreTimestamp())
	metadatatest.AssertEqualReflexStale(t, tt, []metricdata.DataPoint[int64]{{Value: 0}}, metricdatatest.IgnoreTimestamp())
	metadatatest.AssertEqualReflexMailboxDropped(t, tt, []metricdata.DataPoint[int64]{{Value: 0}}, metricdatatest.IgnoreTimestamp())
	verdict := func(v string) attribute.Set { return attribute.NewSet(attribute.String("reflex.verdict", v)) }
	metadatatest.AssertEqualReflexOrders(t, tt, []metricdata.DataPoint[int64]{
		{Value: 1, Attributes: verdict("granted")},
		{Value: int64(len(b.wire.got()) - 1), Attributes: verdict("held")},
	}, metricdatatest.IgnoreTimestamp())
	m, err := tt.GetMetric("otelcol_reflex_observe_duration")
	require.NoError(t, err)
	points := m.Data.(metricdata.Histogram[float64]).DataPoints
	require.Len(t, points, 1)
	assert.Equal(t, b.sample.Sequence, points[0].Count)
}
