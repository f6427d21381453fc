// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/extension/extensioncapabilities"
)

// wired is a configuration with one exporter behind the episodes.
func wired(exporter map[string]any, pipelines map[string]any) *confmap.Conf {
	return confmap.NewFromStringMap(map[string]any{
		"receivers": map[string]any{"reflex": nil},
		"exporters": map[string]any{"otlp_grpc": exporter},
		"service":   map[string]any{"pipelines": pipelines},
	})
}

func TestPipelinesThatMayLoseEpisodesAreNamed(t *testing.T) {
	line := func(processors ...any) map[string]any {
		return map[string]any{"receivers": []any{"reflex/a"}, "processors": processors, "exporters": []any{"otlp_grpc"}}
	}
	queue := func(q, retry map[string]any) map[string]any {
		return map[string]any{"sending_queue": q, "retry_on_failure": retry}
	}
	for name, c := range map[string]struct {
		exporter map[string]any
		pipeline string
		line     map[string]any
		want     string
	}{
		"a queue in memory":           {queue(map[string]any{"enabled": true}, map[string]any{"max_elapsed_time": "0s"}), "logs/x", line(), "pipeline logs/x: exporter otlp_grpc"},
		"a file that forgets":         {queue(map[string]any{"storage": "file_storage"}, map[string]any{"max_elapsed_time": "5m0s"}), "logs", line(), "exporter otlp_grpc"},
		"a file that tries for ever":  {queue(map[string]any{"storage": "file_storage"}, map[string]any{"max_elapsed_time": "0s"}), "logs", line(), ""},
		"a file without a try":        {queue(map[string]any{"storage": "file_storage"}, map[string]any{"enabled": false, "max_elapsed_time": "0s"}), "logs", line(), "exporter otlp_grpc"},
		"a queue that waits":          {queue(map[string]any{"wait_for_result": true}, nil), "traces", line(), ""},
		"no queue":                    {queue(map[string]any{"enabled": false}, nil), "traces", line(), ""},
		"an exporter that has none":   {map[string]any{"path": "x"}, "logs", line(), ""},
		"a queue that is unset":       {queue(nil, nil), "logs", line(), ""},
		"a batch":                     {queue(map[string]any{"enabled": false}, nil), "logs", line("batch/2"), "processor batch/2"},
		"metrics, which are sums":     {queue(map[string]any{"enabled": true}, nil), "metrics", line("batch"), ""},
		"the pipeline of other lines": {queue(map[string]any{"enabled": true}, nil), "logs", map[string]any{"receivers": []any{"otlp"}, "exporters": []any{"otlp_grpc"}}, ""},
	} {
		got, err := deliveryNeeds(wired(c.exporter, map[string]any{c.pipeline: c.line}))
		require.NoError(t, err, name)
		if c.want == "" {
			assert.Empty(t, got, name)
		} else if assert.Len(t, got, 1, name) {
			assert.Contains(t, got[0].Cause, c.want, name)
		}
	}
}

func TestConnectorsAreFollowed(t *testing.T) {
	pipelines := map[string]any{
		"logs/in":      map[string]any{"receivers": []any{"reflex"}, "exporters": []any{"forward/a"}},
		"logs/between": map[string]any{"receivers": []any{"forward/a"}, "exporters": []any{"routing", "forward/a"}}, // refused by the Collector, no reason to go round for ever
		"logs/out":     map[string]any{"receivers": []any{"routing"}, "processors": []any{"batch"}, "exporters": []any{"otlp_grpc"}},
		"metrics":      map[string]any{"receivers": []any{"routing"}, "processors": []any{"batch"}, "exporters": []any{"otlp_grpc"}},
		"logs/other":   map[string]any{"receivers": []any{"otlp"}, "processors": []any{"batch"}, "exporters": []any{"forward/b"}},
	}
	conf := wired(map[string]any{"sending_queue": map[string]any{"enabled": false}}, pipelines)
	require.NoError(t, conf.Merge(confmap.NewFromStringMap(map[string]any{"connectors": map[string]any{"forward/a": nil, "forward/b": nil, "routing": map[string]any{}}})))
	got, err := deliveryNeeds(conf)
	require.NoError(t, err)
	require.Len(t, got, 1)
	assert.Contains(t, got[0].Cause, "pipeline logs/out: processor batch")
}

func TestADoubtfulPipelineIsInTheStatusAndStopsNothing(t *testing.T) {
	n := newBench(t, nil)
	n.assemble()
	bad := wired(map[string]any{"sending_queue": map[string]any{"enabled": true}}, map[string]any{"logs": map[string]any{"receivers": []any{"reflex"}, "exporters": []any{"otlp_grpc"}}})
	require.NoError(t, n.r.NotifyConfigSnapshot(t.Context(), extensioncapabilities.NewConfigSnapshot(bad, nil)))
	found := false
	for _, m := range n.r.status().Missing {
		found = found || m.Name == "delivery"
	}
	assert.True(t, found)
	nonsense := confmap.NewFromStringMap(map[string]any{"service": "nonsense"})
	require.NoError(t, n.r.NotifyConfigSnapshot(t.Context(), extensioncapabilities.NewConfigSnapshot(nonsense, nil)))
}
