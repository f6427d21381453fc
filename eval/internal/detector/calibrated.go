// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detector

import "github.com/otelcol-reflex/reflex/eval/internal/recording"

// model is a challenger without a limit of its own.
type model interface {
	fit(rows [][]float64)
	score(x []float64) float64
}

// calibrated gives a model a limit: the greatest score that the model, fitted
// on the first half of the prefix, gives to the second half. A fresh one is
// then fitted on all of it.
type calibrated struct {
	fresh func() model
	model model
	limit float64
}

func (c *calibrated) Fit(prefix []recording.Row) {
	rows := make([][]float64, len(prefix))
	for i := range prefix {
		rows[i] = prefix[i].Filled
	}
	half := len(rows) / 2
	c.model = c.fresh()
	c.model.fit(rows[:half])
	c.limit = -greatest
	for _, x := range rows[half:] {
		c.limit = max(c.limit, finite(c.model.score(x)))
	}
	c.model = c.fresh()
	c.model.fit(rows)
}

func (c *calibrated) Score(row recording.Row) (float64, bool) {
	s := finite(c.model.score(row.Filled))
	return s, s > c.limit
}

// limited gives a model a limit that theory knows.
type limited struct {
	model model
	limit float64
}

func (l *limited) Fit(prefix []recording.Row) {
	rows := make([][]float64, len(prefix))
	for i := range prefix {
		rows[i] = prefix[i].Filled
	}
	l.model.fit(rows)
}

func (l *limited) Score(row recording.Row) (float64, bool) {
	s := finite(l.model.score(row.Filled))
	return s, s > l.limit
}
