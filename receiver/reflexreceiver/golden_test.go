// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexreceiver

import (
	"context"
	"flag"
	"path/filepath"
	"testing"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/golden"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/plogtest"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/pmetrictest"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/ptracetest"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"

	"github.com/otelcol-reflex/reflex/internal/episode"
)

var update = flag.Bool("update", false, "write the golden files anew")

// told runs a receiver over records and returns what it said until Shutdown.
func told(t *testing.T, records []episode.Record) (*consumertest.LogsSink, *consumertest.MetricsSink, *consumertest.TracesSink) {
	t.Helper()
	journal := episode.NewJournal(1024)
	appendAll(journal, records)
	r := newTestReceiver(t)
	logs, metrics, traces := &consumertest.LogsSink{}, &consumertest.MetricsSink{}, &consumertest.TracesSink{}
	r.logs, r.metrics, r.traces = logs, metrics, traces
	require.NoError(t, r.Start(context.Background(), hostOf(journal)))
	require.NoError(t, r.Shutdown(context.Background()))
	require.NoError(t, r.Shutdown(context.Background()), "the other pipelines shut it down too")
	return logs, metrics, traces
}

func TestAnEpisodeInAllThreeSignals(t *testing.T) {
	logs, metrics, traces := told(t, story())
	file := func(name string) string { return filepath.Join("testdata", "episode", name) }

	require.Len(t, logs.AllLogs(), 1)
	require.Len(t, traces.AllTraces(), 1)
	require.Len(t, metrics.AllMetrics(), 1)
	if *update {
		require.NoError(t, golden.WriteLogsToFile(file("logs.yaml"), logs.AllLogs()[0]))
		require.NoError(t, golden.WriteTracesToFile(file("traces.yaml"), traces.AllTraces()[0]))
		require.NoError(t, golden.WriteMetricsToFile(file("metrics.yaml"), metrics.AllMetrics()[0]))
	}
	wantLogs, err := golden.ReadLogs(file("logs.yaml"))
	require.NoError(t, err)
	require.NoError(t, plogtest.CompareLogs(wantLogs, logs.AllLogs()[0]))
	wantTraces, err := golden.ReadTraces(file("traces.yaml"))
	require.NoError(t, err)
	require.NoError(t, ptracetest.CompareTraces(wantTraces, traces.AllTraces()[0]))
	wantMetrics, err := golden.ReadMetrics(file("metrics.yaml"))
	require.NoError(t, err)
	require.NoError(t, pmetrictest.CompareMetrics(wantMetrics, metrics.AllMetrics()[0],
		pmetrictest.IgnoreTimestamp(), pmetrictest.IgnoreStartTimestamp(), pmetrictest.IgnoreMetricDataPointsOrder(),
		pmetrictest.IgnoreMetricValues("reflex.journal.backlog")))
}
