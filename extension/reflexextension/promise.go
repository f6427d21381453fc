// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/extension/extensioncapabilities"
	"go.uber.org/zap"
)

var _ extensioncapabilities.ConfigSnapshotWatcher = (*reflex)(nil)

// receiverType is the type of the receiver that tells the journal.
const receiverType = "reflex"

// NotifyConfigSnapshot looks at the collector's configuration once: what is between the
// journal and the exporters decides what its promise is worth. It refuses none.
func (r *reflex) NotifyConfigSnapshot(_ context.Context, snapshot extensioncapabilities.ConfigSnapshot) error {
	doubts, err := deliveryNeeds(snapshot.Effective())
	if err != nil {
		r.logger.Debug("the configuration of the pipelines cannot be read", zap.Error(err))
		return nil
	}
	for _, d := range doubts {
		r.logger.Warn("episodes may be lost on their way", zap.String("cause", d.Cause), zap.String("remedy", d.Remedy))
	}
	r.doubts.Store(&doubts)
	return nil
}

// pipeline is what is read of service::pipelines.
type pipeline struct {
	Receivers  []string `mapstructure:"receivers"`
	Processors []string `mapstructure:"processors"`
	Exporters  []string `mapstructure:"exporters"`
}

// deliveryNeeds lists what, in the pipelines of episodes, takes records over before they
// have arrived anywhere: from there on nobody sends them again.
func deliveryNeeds(conf *confmap.Conf) ([]need, error) {
	var config struct {
		Exporters  map[string]map[string]any `mapstructure:"exporters"`
		Connectors map[string]any            `mapstructure:"connectors"`
		Service    struct {
			Pipelines map[string]pipeline `mapstructure:"pipelines"`
		} `mapstructure:"service"`
	}
	if err := conf.Unmarshal(&config, confmap.WithIgnoreUnused()); err != nil {
		return nil, err
	}
	var out []need
	doubt := func(cause, remedy string) {
		if n := (need{Name: "delivery", Cause: cause, Remedy: remedy}); !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	for _, name := range ofEpisodes(config.Service.Pipelines, config.Connectors) {
		p := config.Service.Pipelines[name]
		for _, id := range p.Processors {
			if typeOf(id) == "batch" {
				doubt(fmt.Sprintf("pipeline %s: processor %s says that it has accepted what it still holds, and hides what becomes of it", name, id),
					"leave it out: the receiver batches by itself")
			}
		}
		for _, id := range p.Exporters {
			if forgets(config.Exporters[id]) {
				doubt(fmt.Sprintf("pipeline %s: exporter %s takes records into a queue in memory, from which they are lost when the collector ends or retrying does", name, id),
					"give episodes an exporter of their own with sending_queue::enabled: false, or sending_queue::wait_for_result: true")
			}
		}
	}
	return out, nil
}

// ofEpisodes returns the names of the pipelines that episodes pass through, connectors
// followed, in order. Those of metrics are none: a report that is lost is made up for by
// the next.
func ofEpisodes(pipelines map[string]pipeline, connectors map[string]any) []string {
	through := map[string]bool{}
	var follow func(from func(id string) bool)
	follow = func(from func(id string) bool) {
		for name, p := range pipelines {
			if through[name] || typeOf(name) == "metrics" || !slices.ContainsFunc(p.Receivers, from) {
				continue
			}
			through[name] = true
			follow(func(id string) bool {
				_, connects := connectors[id]
				return connects && slices.Contains(p.Exporters, id)
			})
		}
	}
	follow(func(id string) bool { return typeOf(id) == receiverType })
	return slices.Sorted(maps.Keys(through))
}

// forgets says whether an exporter of this configuration may say that it has accepted
// what never arrives.
func forgets(exporter map[string]any) bool {
	queue, ok := exporter["sending_queue"].(map[string]any)
	if !ok || len(queue) == 0 || queue["enabled"] == false || queue["wait_for_result"] == true {
		return false
	}
	retry, _ := exporter["retry_on_failure"].(map[string]any)
	forever := false
	switch fmt.Sprint(retry["max_elapsed_time"]) {
	case "0", "0s":
		forever = retry["enabled"] != false
	}
	return queue["storage"] == nil || !forever
}

// typeOf returns the type of a component's or pipeline's id.
func typeOf(id string) string {
	kind, _, _ := strings.Cut(id, "/")
	return kind
}
