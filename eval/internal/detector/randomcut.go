// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detector

import "math/rand/v2"

const (
	cutTrees  = 40
	cutWindow = 256
)

// randomCut is a robust random cut forest (Guha, Mishra, Roy and Schrijvers
// 2016) over the last 256 rows, standardised by the prefix: the score is the
// collusive displacement of the row once inserted, averaged over trees.
type randomCut struct {
	seed  uint64
	scale scale
	trees []*cutTree
	next  int // slot of the oldest row
	count int
	z     []float64
}

func newRandomCut(s Setting) Detector {
	return &calibrated{fresh: func() model { return &randomCut{seed: s.Seed} }}
}

func (d *randomCut) fit(rows [][]float64) {
	d.scale = newScale(rows)
	d.z = make([]float64, len(rows[0]))
	for t := range cutTrees {
		d.trees = append(d.trees, newCutTree(len(rows[0]), cutWindow, rand.New(rand.NewPCG(d.seed, uint64(t)))))
	}
	// A tree's distribution depends on the rows in it alone (theorem 1 of the
	// paper), so those that would be forgotten again need not be inserted.
	for _, x := range rows[max(0, len(rows)-cutWindow):] {
		d.score(x)
	}
}

func (d *randomCut) score(x []float64) float64 {
	d.scale.standardise(d.z, x)
	var sum float64
	for _, t := range d.trees {
		if d.count == cutWindow {
			t.forget(d.next)
		}
		t.insert(d.next, d.z)
		sum += t.displacement(d.next)
	}
	d.next = (d.next + 1) % cutWindow
	d.count = min(d.count+1, cutWindow)
	return sum / float64(len(d.trees))
}
