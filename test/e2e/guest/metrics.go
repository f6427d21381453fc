// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"bytes"
	"os"
	"testing"

	"go.opentelemetry.io/collector/pdata/pmetric"
)

// Delivered reads a file of [Setup].Metrics: one delivery after another. A line
// that is being written is left out.
func Delivered(t testing.TB, path string) []pmetric.Metrics {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read what was delivered: %v", err)
	}
	var all []pmetric.Metrics
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		md, err := (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics(line)
		if err != nil {
			t.Fatalf("decode what was delivered: %v", err)
		}
		all = append(all, md)
	}
	return all
}

// Point is one value of a sum or a gauge.
type Point struct {
	Resource map[string]any
	Scope    map[string]any
	Name     string
	Sum      bool
	pmetric.NumberDataPoint
}

// Points returns every point of a delivery.
func Points(md pmetric.Metrics) (points []Point) {
	for _, rm := range md.ResourceMetrics().All() {
		resource := rm.Resource().Attributes().AsRaw()
		for _, sm := range rm.ScopeMetrics().All() {
			scope := sm.Scope().Attributes().AsRaw()
			for _, m := range sm.Metrics().All() {
				all := m.Gauge().DataPoints
				if m.Type() == pmetric.MetricTypeSum {
					all = m.Sum().DataPoints
				}
				for _, p := range all().All() {
					points = append(points, Point{resource, scope, m.Name(), m.Type() == pmetric.MetricTypeSum, p})
				}
			}
		}
	}
	return points
}
