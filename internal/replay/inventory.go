// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"
	"maps"
	"slices"

	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otelcol-reflex/reflex/internal/detect"
	"github.com/otelcol-reflex/reflex/internal/reading"
)

// inventory is which metrics there are, and what is taken from each unless
// something else is said: of sums that only grow their rate, of others their
// level.
type inventory struct {
	kinds  map[string]string
	others []string // no sums or gauges
}

func newInventory(batches []pmetric.Metrics) inventory {
	found := inventory{kinds: map[string]string{}}
	others := map[string]bool{}
	for _, md := range batches {
		for _, rm := range md.ResourceMetrics().All() {
			for _, sm := range rm.ScopeMetrics().All() {
				for _, m := range sm.Metrics().All() {
					switch m.Type() {
					case pmetric.MetricTypeGauge:
						found.kinds[m.Name()] = reading.KindGauge
					case pmetric.MetricTypeSum:
						found.kinds[m.Name()] = reading.KindGauge
						if m.Sum().IsMonotonic() || m.Sum().AggregationTemporality() == pmetric.AggregationTemporalityDelta {
							found.kinds[m.Name()] = reading.KindCounter
						}
					default:
						others[m.Name()] = true
					}
				}
			}
		}
	}
	delete(found.kinds, "")
	found.others = slices.Sorted(maps.Keys(others))
	return found
}

// isPreset says whether the dimensions asked for are a preset.
func isPreset(list string) bool {
	return list == reading.Node || list == reading.HostMetrics || list == reading.Cgroup
}

// vocabulary is what the list asks for of the metrics that there are.
func (f *inventory) vocabulary(name, list string) (*reading.Vocabulary, error) {
	if isPreset(list) {
		return reading.New(list, nil)
	}
	selection, err := ParseSelection(list)
	if err != nil {
		return nil, fmt.Errorf("dimensions: %w", err)
	}
	metrics := slices.Sorted(maps.Keys(f.kinds))
	if len(metrics) == 0 {
		return nil, fmt.Errorf("%s: holds no sum or gauge in its first %d lines: is it the metrics pipeline's file?", name, head)
	}
	if unknown := selection.unknown(metrics); unknown != "" {
		return nil, fmt.Errorf("%s: dimensions: %q is no sum or gauge in the first %d lines, and no preset; the metrics are %s", name, unknown, head, names(metrics))
	}
	var chosen []reading.Config
	for _, m := range metrics {
		kind, said, taken := selection.pick(m)
		if !taken {
			continue
		}
		c := reading.Config{Metric: m, Kind: f.kinds[m]}
		if said {
			c.Kind = kindNames[kind]
		}
		chosen = append(chosen, c)
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("%s: dimensions: %q leaves none of the metrics; they are %s", name, list, names(metrics))
	}
	return reading.New(reading.Custom, chosen)
}

var kindNames = map[detect.Kind]string{
	detect.Rate: reading.KindCounter, detect.Growth: reading.KindGrowth, detect.Level: reading.KindGauge,
}
