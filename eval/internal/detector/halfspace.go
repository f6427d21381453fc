// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detector

import (
	"math"
	"math/rand/v2"
)

const (
	halfSpaceTrees  = 25
	halfSpaceDepth  = 15
	halfSpaceWindow = 250
	// halfSpaceLeast is the share of a window below which a node is not
	// descended into further.
	halfSpaceLeast = 0.1
)

// halfSpace is an ensemble of half-space trees (Tan, Ting and Liu 2011): random
// trees over the range of the prefix count the rows of the last window of 250;
// where few were, a row is anomalous. Counts are replaced window by window.
type halfSpace struct {
	trees     []halfSpaceTree // shared, read only
	low, span []float64       // of each dimension in the prefix
	reference [][]int32       // of each tree and node: rows of the last window
	latest    [][]int32       // of the window under way
	seen      int             // rows in latest
	window    int             // rows in reference
	z         []float64
}

// halfSpaceTree is a full binary tree; the children of node k are 2k+1 and 2k+2.
type halfSpaceTree struct {
	dimension []int32
	cut       []float64
}

func newHalfSpace(s Setting) Detector {
	trees := make([]halfSpaceTree, halfSpaceTrees)
	for t := range trees {
		trees[t] = growHalfSpace(len(s.Columns), rand.New(rand.NewPCG(s.Seed, uint64(t))))
	}
	return &calibrated{fresh: func() model { return &halfSpace{trees: trees} }}
}

// growHalfSpace halves a random dimension of the node's range again and again.
// The range is wider than the unit cube of the prefix, at random, so that trees
// differ and values beyond it have somewhere to go (algorithm 1).
func growHalfSpace(dimensions int, random *rand.Rand) halfSpaceTree {
	inner := 1<<halfSpaceDepth - 1
	t := halfSpaceTree{dimension: make([]int32, inner), cut: make([]float64, inner)}
	lo, hi := make([]float64, dimensions), make([]float64, dimensions)
	for j := range lo {
		s := random.Float64()
		reach := 2 * max(s, 1-s)
		lo[j], hi[j] = s-reach, s+reach
	}
	var grow func(k int)
	grow = func(k int) {
		if k >= inner {
			return
		}
		j := random.IntN(dimensions)
		middle := (lo[j] + hi[j]) / 2
		t.dimension[k], t.cut[k] = int32(j), middle
		upper := hi[j]
		hi[j] = middle
		grow(2*k + 1)
		hi[j] = upper
		lower := lo[j]
		lo[j] = middle
		grow(2*k + 2)
		lo[j] = lower
	}
	grow(0)
	return t
}

func (d *halfSpace) fit(rows [][]float64) {
	n := len(rows[0])
	d.low, d.span, d.z = make([]float64, n), make([]float64, n), make([]float64, n)
	for j := range n {
		lo, hi := rows[0][j], rows[0][j]
		for _, x := range rows {
			lo, hi = min(lo, x[j]), max(hi, x[j])
		}
		d.low[j], d.span[j] = lo, hi-lo
		if d.span[j] < flat {
			d.span[j] = 1
		}
	}
	d.reference, d.latest = make([][]int32, len(d.trees)), make([][]int32, len(d.trees))
	for t := range d.trees {
		d.reference[t], d.latest[t] = make([]int32, 2<<halfSpaceDepth-1), make([]int32, 2<<halfSpaceDepth-1)
	}
	for _, x := range rows {
		d.learn(x)
	}
	if d.window == 0 { // a prefix of less than a window is one
		d.turn()
	}
}

// learn counts x in every node it passes.
func (d *halfSpace) learn(x []float64) {
	d.place(x)
	for t, tree := range d.trees {
		for k := 0; ; k = tree.next(k, d.z) {
			d.latest[t][k]++
			if k >= len(tree.cut) {
				break
			}
		}
	}
	if d.seen++; d.seen == halfSpaceWindow {
		d.turn()
	}
}

// turn makes the window under way the reference.
func (d *halfSpace) turn() {
	d.reference, d.latest = d.latest, d.reference
	for _, counts := range d.latest {
		clear(counts)
	}
	d.window, d.seen = d.seen, 0
}

func (d *halfSpace) place(x []float64) {
	for j, v := range x {
		d.z[j] = (v - d.low[j]) / d.span[j]
	}
}

// next is the child of node k on the side of z.
func (t halfSpaceTree) next(k int, z []float64) int {
	if z[t.dimension[k]] < t.cut[k] {
		return 2*k + 1
	}
	return 2*k + 2
}

// score is minus the logarithm of the mass m·2^depth, summed over trees, where
// the descent ends (the paper's score is the mass, low for anomalies).
func (d *halfSpace) score(x []float64) float64 {
	d.place(x)
	least := int32(halfSpaceLeast * float64(d.window))
	var mass float64
	for t, tree := range d.trees {
		k, depth := 0, 0
		for k < len(tree.cut) && d.reference[t][k] > least {
			k = tree.next(k, d.z)
			depth++
		}
		mass += math.Ldexp(float64(d.reference[t][k]), depth)
	}
	d.learn(x)
	return -math.Log2(1 + mass)
}
