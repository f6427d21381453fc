// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"fmt"
	"testing"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// BenchmarkDetector is one decision of one resource: vector, both baselines,
// score, limit, trend, contributions and update; with its state size.
func BenchmarkDetector(b *testing.B) {
	for _, n := range []int{8, 16, 24, 32, 40, 64, 96, 128} {
		b.Run(fmt.Sprint("n=", n), func(b *testing.B) {
			d := New(Config{Dimensions: freeDimensions(n), HalfLife: 10 * time.Second, FalseAlarmInterval: 24 * time.Hour})
			p := newProcess(1, n, 0.5, false)
			rows := make([][]float64, 4096)
			for i := range rows {
				rows[i] = append([]float64(nil), p.next()...)
			}
			var j arc.Judgement
			at, k := int64(0), 0
			step := func() {
				at += 1e8
				d.Step(Instant{Due: at, Taken: at, Interval: 1e8, Wall: at}, rows[k%len(rows)], arc.Control{}, &j)
				k++
			}
			for !d.apart {
				step()
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				step()
			}
		})
	}
}
