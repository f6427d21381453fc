// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"fmt"

	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otelcol-reflex/reflex/internal/detect"
)

// Attributes that the ebpf receiver tells by where its metrics come from.
const (
	// AttributeSource, on a scope, is the id of the receiver.
	AttributeSource = "reflex.source"
	// AttributeSequence, on the scope of a node, is the number of the tick.
	AttributeSequence = "reflex.sequence"
	// AttributeCgroup, on a resource, is the id of a cgroup.
	AttributeCgroup = "reflex.cgroup.id"
	// AttributeSweep, on the scope of a cgroup, says why the cgroup is there:
	// SweepFull or SweepMovers.
	AttributeSweep = "reflex.sweep"
	// SweepFull: every cgroup is.
	SweepFull = "full"
	// SweepMovers: because it changed much. Who learned from that would take
	// the busiest moments of a cgroup for all of its life.
	SweepMovers = "movers"
)

// Vocabulary is a set of dimensions by the metrics they are read from. It never
// changes, and any number of readers may share it.
type Vocabulary struct {
	preset   string
	dims     []Dimension
	detected []detect.Dimension
	byMetric map[string][]int
}

// New returns the vocabulary of a preset and of more dimensions chosen one by
// one. Errors name the key, preset or dimensions.
func New(preset string, more []Config) (*Vocabulary, error) {
	dims, err := Preset(preset)
	if err != nil {
		return nil, fmt.Errorf("preset: %w", err)
	}
	for i := range more {
		if err := more[i].Check(); err != nil {
			return nil, fmt.Errorf("dimensions::%d::%w", i, err)
		}
		d := more[i].Dimension()
		for j := range dims {
			if dims[j].same(&d) {
				return nil, fmt.Errorf("dimensions::%d: %s of %s is there already", i, more[i].Kind, d.Metric)
			}
		}
		dims = append(dims, d)
	}
	v := &Vocabulary{preset: preset, dims: dims, byMetric: map[string][]int{}}
	for i, d := range dims {
		v.detected = append(v.detected, d.Dimension)
		v.byMetric[d.Metric] = append(v.byMetric[d.Metric], i)
	}
	return v, nil
}

// Dimensions returns the dimensions for a [detect.Detector], in the order of a
// [Vector]. The caller does not change them.
func (v *Vocabulary) Dimensions() []detect.Dimension { return v.detected }

// Sources returns the dimensions with where they are read, in the same order.
// The caller does not change them.
func (v *Vocabulary) Sources() []Dimension { return v.dims }

// Reads reports whether a metric called name matters.
func (v *Vocabulary) Reads(name string) bool { return len(v.byMetric[name]) > 0 }

// Admits reports whether rm may be learned from at all: a cgroup is another kind
// of being than a node, and one that only shows when it moves is no fair sample of
// itself.
func (v *Vocabulary) Admits(rm pmetric.ResourceMetrics) bool {
	if _, cgroup := rm.Resource().Attributes().Get(AttributeCgroup); !cgroup {
		return true
	}
	if v.preset == Node || v.preset == HostMetrics {
		return false
	}
	for i := range rm.ScopeMetrics().Len() {
		sweep, ok := rm.ScopeMetrics().At(i).Scope().Attributes().Get(AttributeSweep)
		if ok && sweep.AsString() == SweepMovers {
			return false
		}
	}
	return true
}

// matches reports whether p carries every attribute of d.
func (d *Dimension) matches(p pmetric.NumberDataPoint) bool {
	for k, want := range d.Attributes {
		got, ok := p.Attributes().Get(k)
		if !ok || got.AsString() != want {
			return false
		}
	}
	return true
}
