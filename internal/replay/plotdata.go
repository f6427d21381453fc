// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"slices"
	"strconv"
)

// plotData is what plot.js draws of one stream: a value a bin, null where there
// is none. Times are in seconds, but wall, which is in ms since the epoch.
type plotData struct {
	Wall  *float64 `json:"wall"`
	Width float64  `json:"width"`
	// Judged are rows for which the engine was ready.
	Rows      []int32  `json:"rows"`
	Judged    []int32  `json:"judged"`
	Anomalous []int32  `json:"anomalous"`
	Marked    []int32  `json:"marked"`
	Regime    []int32  `json:"regime"`
	ScoreLow  []number `json:"scoreLow"`
	ScoreHigh []number `json:"scoreHigh"`
	LimitLow  []number `json:"limitLow"`
	LimitHigh []number `json:"limitHigh"`

	VelocityLow      []number `json:"velocityLow"`
	VelocityHigh     []number `json:"velocityHigh"`
	AccelerationLow  []number `json:"accelerationLow"`
	AccelerationHigh []number `json:"accelerationHigh"`

	Shares []plotShares `json:"shares"`
}

// plotShares is the greatest share of the squared distance of one dimension.
type plotShares struct {
	Name string   `json:"name"`
	Most []number `json:"most"`
}

// number is written with four digits, and as null where it is not finite.
type number float32

// MarshalJSON implements json.Marshaler.
func (n number) MarshalJSON() ([]byte, error) {
	v := float64(n)
	if math.IsInf(v, 0) || math.IsNaN(v) {
		return []byte("null"), nil
	}
	text := strconv.AppendFloat(nil, v, 'g', 4, 32)
	return text, nil
}

// top are the dimensions that contributed most, most first.
func (s *series) top() []int {
	order := make([]int, len(s.names))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case s.total[a] > s.total[b]:
			return -1
		case s.total[a] < s.total[b]:
			return 1
		}
		return 0
	})
	return order[:min(len(order), shown)]
}

func (s *series) data(top []int) plotData {
	d := plotData{Width: s.width.Seconds()}
	if s.wall != 0 {
		ms := float64(s.wall / 1e6)
		d.Wall = &ms
	}
	for _, i := range top {
		d.Shares = append(d.Shares, plotShares{Name: s.names[i]})
	}
	for k := range s.bins[:s.used] {
		b := &s.bins[k]
		d.Rows = append(d.Rows, b.rows)
		d.Judged = append(d.Judged, b.judged)
		d.Anomalous = append(d.Anomalous, b.anomalous)
		d.Marked = append(d.Marked, b.marked)
		d.Regime = append(d.Regime, int32(b.regime))
		d.ScoreLow, d.ScoreHigh = append(d.ScoreLow, number(b.score.low)), append(d.ScoreHigh, number(b.score.high))
		d.LimitLow, d.LimitHigh = append(d.LimitLow, number(b.limit.low)), append(d.LimitHigh, number(b.limit.high))
		d.VelocityLow, d.VelocityHigh = append(d.VelocityLow, number(b.speed.low)), append(d.VelocityHigh, number(b.speed.high))
		d.AccelerationLow, d.AccelerationHigh = append(d.AccelerationLow, number(b.acceleration.low)), append(d.AccelerationHigh, number(b.acceleration.high))
		for row, i := range top {
			most := number(math.NaN())
			if s.shares[k] != nil {
				most = number(s.shares[k][i])
			}
			d.Shares[row].Most = append(d.Shares[row].Most, most)
		}
	}
	return d
}
