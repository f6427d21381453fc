// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

func TestStepDoesNotAllocate(t *testing.T) {
	for _, n := range []int{16, 40} {
		for name, shift := range map[string]float64{"calm": 0, "under an alarm": 30} {
			t.Run(fmt.Sprintf("n=%d/%s", n, name), func(t *testing.T) {
				d := New(Config{Dimensions: freeDimensions(n), HalfLife: time.Second, FalseAlarmInterval: 24 * time.Hour})
				p := newProcess(1, n, 0.5, false)
				rows := make([][]float64, 2048)
				for k := range rows {
					rows[k] = slices.Clone(p.next())
				}
				var j arc.Judgement
				at, k, anomalous := int64(0), 0, 0
				by := 0.0
				x := make([]float64, n)
				step := func() {
					at += 100 * ms
					copy(x, rows[k%len(rows)])
					x[0] += by
					if k++; k%7 == 0 {
						x[1] = nan
					}
					d.Step(Instant{Due: at, Taken: at, Interval: 100 * ms, Wall: at * 1000}, x, arc.Control{}, &j)
					anomalous += count(j.Anomalous)
				}
				for !d.apart {
					step()
				}
				by, anomalous = shift, 0
				assert.Zero(t, testing.AllocsPerRun(2000, step))
				assert.Equal(t, shift > 0, anomalous > 1000)
				assert.Positive(t, d.season.hours)
				assert.Equal(t, reserved, d.reservoir.rows)
			})
		}
	}
}

// bytesOf sums what v holds: itself, and the capacity of what it points to.
func bytesOf(v reflect.Value, seen map[uintptr]bool) (held uintptr) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || seen[v.Pointer()] {
			return 0
		}
		seen[v.Pointer()] = true
		return v.Elem().Type().Size() + bytesOf(v.Elem(), seen)
	case reflect.Slice:
		held = uintptr(v.Cap()) * v.Type().Elem().Size()
		if k := v.Type().Elem().Kind(); k != reflect.Struct && k != reflect.Slice {
			return held
		}
		for i := range v.Len() {
			held += bytesOf(v.Index(i), seen)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			held += bytesOf(v.Field(i), seen)
		}
	default:
	}
	return held
}

func TestStateIsBounded(t *testing.T) {
	for _, c := range []struct {
		n           int
		lean, whole uintptr // KiB at most
	}{{8, 40, 60}, {16, 65, 110}, {40, 220, 300}} {
		size := func(lean bool) uintptr {
			d := New(Config{Dimensions: freeDimensions(c.n), Lean: lean, HalfLife: time.Second})
			begin := bytesOf(reflect.ValueOf(d), map[uintptr]bool{})
			f := newFeed(d, newProcess(1, c.n, 0, false))
			f.run(1000)
			settled := bytesOf(reflect.ValueOf(d), map[uintptr]bool{})
			f.run(1000)
			require.Equal(t, settled, bytesOf(reflect.ValueOf(d), map[uintptr]bool{}), "it does not grow")
			t.Logf("n=%d lean=%v: %d KiB, %d KiB in the warm-up; checkpoint %d KiB",
				c.n, lean, settled>>10, begin>>10, len(d.AppendCheckpoint(nil))>>10)
			return settled >> 10
		}
		assert.LessOrEqual(t, size(true), c.lean)
		assert.LessOrEqual(t, size(false), c.whole)
	}
}
